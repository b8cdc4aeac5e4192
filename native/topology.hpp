// Whether simplified rings of one mask still lie to each other as the outlines did.
#pragma once

#include <vector>

#include "shortcuts.hpp"

namespace delineate {

// A ring and the points of it that are kept, rising, with the places to which they have moved. Side k runs from kept[k] to
// the next one, the last to the first.
struct Sketch {
    const Ring* ring;
    std::vector<int64_t> kept;
    std::vector<Point> places;

    Sketch(const Ring& outline, std::vector<int64_t> points) : ring(&outline), kept(std::move(points)) {
        for (const int64_t k : kept) places.push_back(ring->at(k));
    }
    Point place(int64_t k) const { return places[static_cast<size_t>((k + sides()) % sides())]; }
    bool moved(int64_t k) const { return !(place(k) == ring->at(kept[static_cast<size_t>((k + sides()) % sides())])); }
    int64_t sides() const { return static_cast<int64_t>(kept.size()); }
    int64_t begin(int64_t side) const { return kept[static_cast<size_t>(side)]; }
    int64_t end(int64_t side) const {
        return side + 1 < sides() ? kept[static_cast<size_t>(side) + 1] : kept[0] + ring->size();
    }
};

struct Side {
    int64_t ring, side;
    auto operator<=>(const Side&) const = default;
};

// Sides that meet another side anywhere but in a corner that both outlines had in common, and there without crossing.
std::vector<Side> crossings(const std::vector<Sketch>& sketches);
// Sides between which and their outline another ring starts: that ring has come to lie on the wrong side.
std::vector<Side> misplaced(const std::vector<Sketch>& sketches);
// All sides of rings that, where nothing crosses, still lie wrongly: exteriors inside the mask, holes outside.
std::vector<Side> stranded(const std::vector<Sketch>& sketches);

}  // namespace delineate
