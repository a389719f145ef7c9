// The kernels that the emulated card knows, by name. A file of kernels registers each with KERNEL(name), or, for an
// instance of a template, with KERNEL_AS("name", function<...>).
#pragma once

#include "card.hpp"

#include <functional>
#include <string>
#include <unordered_map>

namespace card {

struct Parameter {
    size_t size;
    bool pointer;
    void (*clear_padding)(void*);
};

// What lies between the fields of a struct may look like anything.
template <class P>
void clear_padding(void* parameter) {
    if constexpr (std::is_class<P>::value) __builtin_clear_padding(static_cast<P*>(parameter));
}

struct Kernel {
    std::string name;
    std::vector<Parameter> parameters;
    std::function<void(dim3 grid, dim3 block, size_t shared, void** parameters)> launch;
    int dynamic_shared_limit = 48 << 10;  // until the program asks for more
    size_t launches = 0;
    double seconds = 0;
};

inline std::unordered_map<std::string, Kernel>& kernels() {
    static auto* all = new std::unordered_map<std::string, Kernel>;
    return *all;
}

template <class... P, size_t... i>
void launch_unpacked(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, void** parameters,
                     std::index_sequence<i...>) {
    (void)parameters;
    launch(kernel, grid, block, shared, *static_cast<std::decay_t<P>*>(parameters[i])...);
}

template <class... P>
bool add_kernel(const char* name, void (*kernel)(P...)) {
    kernels()[name] = {name,
                       {{sizeof(P), std::is_pointer<P>::value, clear_padding<std::decay_t<P>>}...},
                       [kernel](dim3 grid, dim3 block, size_t shared, void** parameters) {
                           launch_unpacked(kernel, grid, block, shared, parameters, std::index_sequence_for<P...>());
                       }};
    return true;
}

}  // namespace card

#define CARD_PASTE2(a, b) a##b
#define CARD_PASTE(a, b) CARD_PASTE2(a, b)
#define KERNEL_AS(name, ...) \
    static const bool CARD_PASTE(kernel_is_known_, __COUNTER__) [[maybe_unused]] = card::add_kernel(name, __VA_ARGS__);
#define KERNEL(name) KERNEL_AS(#name, name)
