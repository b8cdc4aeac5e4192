// One-to-one assignment of the greatest total gain on a sparse bipartite graph.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace delineate {

struct Edge {
    int32_t column;
    double gain;  // > 0
};

// Row r may take one of edges[offsets[r], offsets[r + 1]) or nothing (gain 0); a column is taken at most once.
// Returns per row the index into `edges` of what it takes, or -1. Exact, by shortest augmenting paths.
std::vector<int64_t> assign(std::span<const int64_t> offsets, std::span<const Edge> edges, int64_t columns);

}  // namespace delineate
