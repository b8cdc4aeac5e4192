// Which truth a detection takes: COCO's rule, shared by all that match by score.
#pragma once

#include <cstdint>

namespace delineate {

// Among the pairs [begin, end) of one detection the one with the greatest overlap, from `least` on: of the truths that count,
// or else of the ignored ones; of equal overlaps the later pair; -1 if none is free.
template <class Overlaps, class Ignored, class Free>
int64_t greediest(int64_t begin, int64_t end, double least, Overlaps&& iou, Ignored&& ignored, Free&& free) {
    for (const bool wanted : {false, true}) {
        int64_t best = -1;
        double most = least;
        for (int64_t p = begin; p < end; ++p) {
            if (ignored(p) != wanted || iou(p) < most || !free(p)) continue;
            most = iou(p);
            best = p;
        }
        if (best >= 0) return best;
    }
    return -1;
}

}  // namespace delineate
