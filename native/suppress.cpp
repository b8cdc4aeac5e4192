#include "suppress.hpp"

#include <queue>

namespace delineate {

std::vector<double> soften(std::span<const double> scores, const Neighbours& neighbours, std::span<const double> factors) {
    std::vector<double> now(scores.begin(), scores.end());
    std::vector<uint8_t> final(scores.size(), 0);
    // Entries whose score has fallen since are left in the queue and passed over.
    struct Entry {
        double score;
        int64_t object;
        bool operator<(const Entry& other) const {
            return score < other.score || (score == other.score && object > other.object);
        }
    };
    std::priority_queue<Entry> queue;
    for (size_t i = 0; i < now.size(); ++i) queue.push({now[i], static_cast<int64_t>(i)});
    for (; !queue.empty();) {
        const Entry best = queue.top();
        queue.pop();
        if (final[best.object] || best.score != now[best.object]) continue;
        final[best.object] = 1;
        for (int64_t k = neighbours.offsets[best.object]; k < neighbours.offsets[best.object + 1]; ++k) {
            const int64_t other = neighbours.objects[k];
            if (final[other] || factors[k] == 1) continue;
            now[other] *= factors[k];
            queue.push({now[other], other});
        }
    }
    return now;
}

std::vector<int64_t> group_greedily(std::span<const int64_t> order, const Neighbours& neighbours) {
    std::vector<int64_t> leaders(order.size(), -1);
    for (const int64_t i : order) {
        if (leaders[i] >= 0) continue;
        leaders[i] = i;
        for (int64_t k = neighbours.offsets[i]; k < neighbours.offsets[i + 1]; ++k)
            if (leaders[neighbours.objects[k]] < 0) leaders[neighbours.objects[k]] = i;
    }
    return leaders;
}

}  // namespace delineate
