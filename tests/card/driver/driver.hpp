// What the emulated libcuda offers the other emulated libraries.
#pragma once
#include <cstddef>
#include <functional>

namespace card {
// Runs work now, or records it if the stream is being captured.
__attribute__((visibility("default"))) void on_stream(void* stream, std::function<void()> work);
// Aborts unless these bytes are in the card's memory.
__attribute__((visibility("default"))) void check_device_memory(const void* address, size_t bytes, const char* what);
}  // namespace card
