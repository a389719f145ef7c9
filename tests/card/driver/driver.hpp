// What the emulated libcuda offers the other emulated libraries.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <functional>

namespace card {
// Whether a variable of the environment is set, and not to 0.
inline bool setting(const char* name) {
    const char* value = getenv(name);
    return value && *value && *value != '0';
}
// Whether work is only looked at, not done.
inline bool is_idle() {
    static const bool idle = setting("EMU_IDLE");
    return idle;
}
// Runs work now, or records it if the stream is being captured.
__attribute__((visibility("default"))) void on_stream(void* stream, std::function<void()> work);
// Aborts unless these bytes are in the card's memory.
__attribute__((visibility("default"))) void check_device_memory(const void* address, size_t bytes, const char* what);
}  // namespace card
