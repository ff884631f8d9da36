/// What the run-time libraries of the sanitizers ask a program, which the library answers in its
/// place: a program that is built with one cannot see that the library is not.

#define EXPORT extern "C" [[gnu::visibility("default")]]

/// AddressSanitizer's wants to be the first library in the process, but need not be.
EXPORT const char* interposed_asan_options() asm("__asan_default_options");
const char* interposed_asan_options() {
    return "verify_asan_link_order=0";
}

/// ThreadSanitizer's sees what the library allocates and frees, but not how its threads agree.
EXPORT const char* interposed_tsan_suppressions() asm("__tsan_default_suppressions");
const char* interposed_tsan_suppressions() {
    return "called_from_lib:libmshv-emulator.so\n"
           "race:libmshv-emulator.so\n"
           "mutex:libmshv-emulator.so\n";
}
