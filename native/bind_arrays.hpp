// What the bindings share: numpy's columns as spans, vectors given to numpy. For bind*.cpp only.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <span>
#include <utility>
#include <vector>

namespace delineate {

template <class T>
using Array1 = nanobind::ndarray<const T, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;

template <class T>
std::span<const T> view(const Array1<T>& array) {
    return {array.data(), array.size()};
}

// Hands a vector over to numpy without a copy.
template <class T, size_t Dims>
nanobind::ndarray<nanobind::numpy, T, nanobind::ndim<Dims>> give(std::vector<T>&& values, const size_t (&shape)[Dims]) {
    auto* held = new std::vector<T>(std::move(values));
    const nanobind::capsule owner(held, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return {held->data(), Dims, shape, owner};
}

template <class T>
auto give(std::vector<T>&& values) {
    const size_t shape[] = {values.size()};
    return give(std::move(values), shape);
}

}  // namespace delineate
