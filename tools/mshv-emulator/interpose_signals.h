/// The program's SIGSYS, beside the trap's.
#pragma once

namespace halcyon::emulator {

/// From now on a SIGSYS that is not the trap's is the program's: it gets the handler that the
/// program set through the C library. Once, when the library is loaded.
void keep_sigsys();

}  // namespace halcyon::emulator
