// What is done with objects that overlap: scores that fall, groups, and several finds of one object made into one.
#pragma once

#include "rle.hpp"

namespace delineate {

// Which objects overlap: object i meets neighbours [offsets[i], offsets[i + 1]), each pair from both sides.
struct Neighbours {
    std::span<const int64_t> offsets, objects;
};

// Soft-NMS (Bodla et al., 2017): the best object that is left is final, and multiplies the scores of its neighbours that are
// left by `factors` (one for each of the neighbours). Of equal scores the lower index is taken first.
std::vector<double> soften(std::span<const double> scores, const Neighbours& neighbours, std::span<const double> factors);

// Best first, an object that is in no group yet leads one of all its neighbours that are in none: the leader of each.
std::vector<int64_t> group_greedily(std::span<const int64_t> order, const Neighbours& neighbours);

// Objects to be fused, in the order `order`, each with a weight (not below 0) and a label.
struct Votes {
    std::span<const int64_t> order, labels;
    std::span<const double> weights;
};

// Each object joins the cluster of its label whose fused shape it overlaps best, with an IoU above the threshold, or begins
// a new one. Clusters are numbered as they begin.
struct FusedMasks {
    std::vector<int64_t> clusters;  // of each object
    Rle masks;                      // of each cluster: the pixels that hold at least half of its weight
};
FusedMasks fuse_masks(const Rle& rle, const Votes& votes, double threshold);

struct FusedBoxes {
    std::vector<int64_t> clusters;
    std::vector<double> boxes;  // (C, 4) of each cluster: the weighted mean
};
FusedBoxes fuse_boxes(std::span<const double> boxes, const Votes& votes, double threshold);

}  // namespace delineate
