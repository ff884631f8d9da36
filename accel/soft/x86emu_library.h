/// The library's header, without the macros that would reach into ours.
#pragma once

#include <x86emu.h>

#undef u8
#undef u16
#undef u32
#undef u64
#undef s8
#undef s16
#undef s32
#undef s64
