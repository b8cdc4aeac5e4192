#include "assignment.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>
#include <utility>

namespace delineate {

// Rows enter one by one. Costs are negative gains; row potentials u and column potentials v keep every reduced cost
// (cost - u - v) at or above 0, and at 0 on assigned edges. To stay without a column costs a row 0 - u.
std::vector<int64_t> assign(std::span<const int64_t> offsets, std::span<const Edge> edges, int64_t columns) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const int64_t rows = static_cast<int64_t>(offsets.size()) - 1;
    std::vector<int64_t> taken(static_cast<size_t>(rows), -1);
    std::vector<int64_t> owner(static_cast<size_t>(columns), -1);
    std::vector<double> u(static_cast<size_t>(rows), 0), v(static_cast<size_t>(columns), 0);
    std::vector<double> distance(static_cast<size_t>(columns), kInfinity);
    std::vector<int64_t> reached_by(static_cast<size_t>(columns), -1);  // edge of the shortest path
    std::vector<int64_t> row_of(static_cast<size_t>(columns), -1);      // row at the start of that edge
    std::vector<char> done(static_cast<size_t>(columns), 0);
    std::vector<int64_t> touched, finished;
    using Entry = std::pair<double, int64_t>;
    for (int64_t start = 0; start < rows; ++start) {
        if (offsets[start] == offsets[start + 1]) continue;
        double lowest = 0;  // u[start] = its cheapest choice, so that all its reduced costs are >= 0
        for (int64_t e = offsets[start]; e < offsets[start + 1]; ++e)
            lowest = std::min(lowest, -edges[e].gain - v[edges[e].column]);
        u[start] = lowest;
        std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
        touched.clear();
        finished.clear();
        int64_t row = start, end_column = -1, end_row = start;
        double base = 0, best = -u[start];  // best: cost of ending with end_row unassigned
        while (true) {
            for (int64_t e = offsets[row]; e < offsets[row + 1]; ++e) {
                const int64_t column = edges[e].column;
                if (done[column]) continue;
                const double length = base + (-edges[e].gain - u[row] - v[column]);
                if (length >= distance[column] || length >= best) continue;
                if (distance[column] == kInfinity) touched.push_back(column);
                distance[column] = length;
                reached_by[column] = e;
                row_of[column] = row;
                queue.emplace(length, column);
            }
            while (!queue.empty() && (done[queue.top().second] || queue.top().first > distance[queue.top().second]))
                queue.pop();
            if (queue.empty() || queue.top().first >= best) break;
            const auto [length, column] = queue.top();
            queue.pop();
            if (owner[column] < 0) {
                best = length;
                end_column = column;
                break;
            }
            done[column] = 1;
            finished.push_back(column);
            row = owner[column];
            base = length;
            if (base - u[row] < best) {
                best = base - u[row];
                end_row = row;
            }
        }
        for (const int64_t column : finished) {
            u[owner[column]] += best - distance[column];
            v[column] -= best - distance[column];
        }
        u[start] += best;
        int64_t column = end_column;
        if (column < 0) {  // end_row gives up its column, which the path then hands on
            if (end_row != start) {
                column = edges[taken[end_row]].column;
                taken[end_row] = -1;
            }
        }
        while (column >= 0) {
            const int64_t giver = row_of[column];
            const int64_t old = taken[giver];
            owner[column] = giver;
            taken[giver] = reached_by[column];
            column = giver == start ? -1 : edges[old].column;
        }
        for (const int64_t c : touched) {
            distance[c] = kInfinity;
            done[c] = 0;
        }
    }
    return taken;
}

}  // namespace delineate
