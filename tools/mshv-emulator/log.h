/// The log that --log asks for: a line for each call that was refused and each fault put in.
#pragma once

namespace halcyon::emulator {

/// Whether there is one; for what costs something to find out.
bool log_enabled();

/// Appends a line, after the process and thread ids. Opens the file each time, so that it survives
/// fork and a program that closes all descriptors. Any thread, also inside the trap.
[[gnu::format(printf, 1, 2)]] void log_line(const char* format, ...);

}  // namespace halcyon::emulator
