#include "simplify.hpp"

#include <cmath>
#include <limits>

#include "outline.hpp"
#include "polygon.hpp"
#include "topology.hpp"

namespace delineate {

namespace {

class MaskSimplifier {
   public:
    MaskSimplifier(const Rle& rle, int64_t i, const Outlines& outlines) : rle_(rle), i_(i) {
        for (int64_t r = outlines.masks[i]; r < outlines.masks[i + 1]; ++r) {
            const size_t begin = static_cast<size_t>(2 * outlines.rings[r]), end = static_cast<size_t>(2 * outlines.rings[r + 1]);
            rings_.emplace_back(std::span(outlines.points).subspan(begin, end - begin));
        }
    }

    // Within `distance` pixels, with the fewest corners of each ring; among those, the least area in between.
    std::vector<Sketch> within(double distance) const { return within(distance, &fewest); }

    std::vector<Sketch> to_iou(double iou) const {
        double area = 0, border = 0;
        for (const Ring& ring : rings_) {
            area += static_cast<double>(ring.between(0, ring.size())) / 8;
            border += length(ring) / 2;
        }
        std::vector<Sketch> best = exact();
        if (rings_.empty()) return best;
        // Growing steps, then halving: what is found is measured, so nothing depends on how well the distance is guessed.
        double good = 0, bad = 0, tried = .25 + (1 - iou) * area / border;
        for (int step = 0; step < 16 && (bad == 0 || bad - good > .05 * bad); ++step) {
            auto sketches = within(tried, &few);
            auto fitted = fit(sketches, 2 * tried);
            const bool closer = measured_iou(fitted) >= iou;
            if (closer) sketches = std::move(fitted);
            if (closer || measured_iou(sketches) >= iou) {
                good = tried;
                if (corners(sketches) <= corners(best)) best = std::move(sketches);
                tried = bad > 0 ? (good + bad) / 2 : 2 * tried;
                if (tried > border) break;
            } else {
                bad = tried;
                tried = (good + bad) / 2;
            }
        }
        return best;
    }

    static void emit(const std::vector<Sketch>& sketches, Simplified& out) {
        for (const Sketch& sketch : sketches) {
            for (const Point p : sketch.places) {
                out.points.insert(out.points.end(), {static_cast<int32_t>(p.x), static_cast<int32_t>(p.y)});
            }
            out.rings.push_back(static_cast<int64_t>(out.points.size() / 2));
        }
        out.masks.push_back(static_cast<int64_t>(out.rings.size()) - 1);
    }

   private:
    // `choose(ring, distance)` gives the points of a ring that are kept; here distances are in half pixels.
    std::vector<Sketch> within(double distance, std::vector<int64_t> (*choose)(const Ring&, double)) const {
        std::vector<Sketch> sketches;
        for (const Ring& ring : rings_) {
            sketches.emplace_back(ring, choose(ring, 2 * distance));
            Sketch& sketch = sketches.back();
            std::vector<int64_t> far;  // rounding may have let through what does not quite keep the bound
            for (int64_t k = 0; k < sketch.sides(); ++k)
                if (!ring.within(sketch.begin(k), sketch.end(k), 2 * distance)) far.push_back(k);
            if (!far.empty()) split(sketch, far, 2 * distance);
        }
        repair(sketches, 2 * distance);
        return sketches;
    }

    // So little for the area that all of it together weighs less than one line.
    static double price(const Ring& ring, double distance) {
        return 1 / (8 * (distance + 1) * (static_cast<double>(ring.size()) + length(ring)));
    }
    static std::vector<int64_t> fewest(const Ring& ring, double distance) {
        return Shortcuts(ring, distance).cheapest(price(ring, distance));
    }
    // The number of lines to be tried grows with the distance. Where both it and the ring are long, only those between the
    // points of a sketch that takes up an eighth of the distance are tried: perhaps not the fewest corners, but near.
    static std::vector<int64_t> few(const Ring& ring, double distance) {
        constexpr double kWide = 8;
        constexpr int64_t kLong = 1024;
        if (distance <= kWide || ring.size() <= kLong) return fewest(ring, distance);
        std::vector<int64_t> among = few(ring, distance / 8);
        if (among.size() <= 4) return among;
        return Shortcuts(ring, std::move(among), distance - distance / 8).cheapest(price(ring, distance));
    }
    static double length(const Ring& ring) {
        double sum = 0;
        for (int64_t k = 0; k < ring.size(); k += 2) {
            const Point p = ring.at(k), q = ring.at(k + 2);
            sum += static_cast<double>(std::abs(q.x - p.x) + std::abs(q.y - p.y));
        }
        return sum;
    }
    static size_t corners(const std::vector<Sketch>& sketches) {
        size_t count = 0;
        for (const Sketch& sketch : sketches) count += sketch.kept.size();
        return count;
    }
    std::vector<Sketch> exact() const {
        std::vector<Sketch> sketches;
        for (const Ring& ring : rings_) {
            std::vector<int64_t> kept;
            for (int64_t k = 0; k < ring.size(); k += 2) kept.push_back(k);
            sketches.emplace_back(ring, std::move(kept));
        }
        return sketches;
    }

    // Takes the ends of the sides of `wrong` back to the outline; those that lie there are split, and their parts until
    // they are within the distance. False: nothing was left to do.
    static bool split(Sketch& sketch, const std::vector<int64_t>& wrong, double distance) {
        std::vector<int64_t> more;
        const auto add = [&](const auto& self, int64_t a, int64_t b, bool forced) -> void {
            const int64_t middle = forced || !sketch.ring->within(a, b, distance) ? sketch.ring->farthest(a, b) : -1;
            if (middle < 0) return;
            more.push_back(middle % sketch.ring->size());
            self(self, a, middle, false);
            self(self, middle, b, false);
        };
        bool restored = false;
        for (const int64_t side : wrong) {
            if (sketch.moved(side) || sketch.moved(side + 1)) {
                restored = true;
            } else {
                add(add, sketch.begin(side), sketch.end(side), true);
            }
        }
        for (const int64_t side : wrong)
            for (const size_t k : {static_cast<size_t>(side), static_cast<size_t>((side + 1) % sketch.sides())})
                sketch.places[k] = sketch.ring->at(sketch.kept[k]);
        insert(sketch, more);
        return restored || !more.empty();
    }

    static void insert(Sketch& sketch, const std::vector<int64_t>& more) {
        std::vector<std::pair<int64_t, Point>> all;
        for (size_t k = 0; k < sketch.kept.size(); ++k) all.emplace_back(sketch.kept[k], sketch.places[k]);
        for (const int64_t k : more) all.emplace_back(k, sketch.ring->at(k));
        std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
        sketch.kept.clear();
        sketch.places.clear();
        for (const auto& [k, place] : all) {
            sketch.kept.push_back(k);
            sketch.places.push_back(place);
        }
    }

    static std::vector<int64_t> all_sides(const Sketch& sketch) {
        std::vector<int64_t> sides(static_cast<size_t>(sketch.sides()));
        for (size_t k = 0; k < sides.size(); ++k) sides[k] = static_cast<int64_t>(k);
        return sides;
    }

    // Area of the same sign as before, so at least three corners.
    static bool upright(const Sketch& sketch) {
        int64_t doubled = 0;
        for (int64_t k = 0; k < sketch.sides(); ++k) doubled += cross(sketch.ring->at(0), sketch.place(k), sketch.place(k + 1));
        return doubled != 0 && (doubled > 0) == (sketch.ring->between(0, sketch.ring->size()) > 0);
    }

    // With sides along the lines of least squares through what they replace, instead of from point to point of the outline:
    // a polygon that lies as much inside as outside needs fewer corners for the same overlap.
    std::vector<Sketch> fit(std::vector<Sketch> sketches, double distance) const {
        for (Sketch& sketch : sketches) {
            std::vector<Line> lines;
            for (int64_t k = 0; k < sketch.sides(); ++k) lines.push_back(fitted_line(*sketch.ring, sketch.begin(k), sketch.end(k)));
            for (int64_t k = 0; k < sketch.sides(); ++k) {
                const Line &a = lines[static_cast<size_t>((k + sketch.sides() - 1) % sketch.sides())], &b = lines[static_cast<size_t>(k)];
                const double sine = a.dx * b.dy - a.dy * b.dx;
                if (std::abs(sine) < .05) continue;
                const double t = ((b.x - a.x) * b.dy - (b.y - a.y) * b.dx) / sine, x = a.x + t * a.dx, y = a.y + t * a.dy;
                Point& place = sketch.places[static_cast<size_t>(k)];
                if (std::hypot(x - static_cast<double>(place.x), y - static_cast<double>(place.y)) > 2 * distance + 1) continue;
                place = {std::clamp<int64_t>(std::llround(x), 0, 2 * rle_.width), std::clamp<int64_t>(std::llround(y), 0, 2 * rle_.height)};
            }
        }
        repair(sketches, distance);
        return sketches;
    }

    struct Line {
        double x, y, dx, dy;  // a point, and a direction of length 1
    };
    static Line fitted_line(const Ring& ring, int64_t a, int64_t b) {
        double weight = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0;
        const Point origin = ring.at(a);
        for (int64_t k = a; k < b; ++k) {  // half edges, in coordinates from the first point
            const Point from = ring.at(k), to = ring.at(k + 1);
            const double dx = static_cast<double>(to.x - from.x), dy = static_cast<double>(to.y - from.y);
            const double mx = static_cast<double>(from.x - origin.x) + dx / 2, my = static_cast<double>(from.y - origin.y) + dy / 2;
            const double w = std::abs(dx) + std::abs(dy);
            weight += w;
            x += w * mx;
            y += w * my;
            xx += w * (mx * mx + dx * dx / 12);
            xy += w * (mx * my + dx * dy / 12);
            yy += w * (my * my + dy * dy / 12);
        }
        x /= weight;
        y /= weight;
        const double angle = std::atan2(2 * (xy / weight - x * y), xx / weight - x * x - yy / weight + y * y) / 2;
        return {x + static_cast<double>(origin.x), y + static_cast<double>(origin.y), std::cos(angle), std::sin(angle)};
    }

    // Puts corners back until every ring keeps its sense, none crosses itself or another, and none has changed sides.
    // Ends, because the outlines themselves are so.
    void repair(std::vector<Sketch>& sketches, double distance) const {
        for (bool changed = true; changed;) {
            changed = false;
            for (Sketch& sketch : sketches)
                while (!upright(sketch) && split(sketch, all_sides(sketch), distance)) {
                }
            auto wrong = crossings(sketches);
            if (wrong.empty()) wrong = misplaced(sketches);
            if (wrong.empty()) wrong = stranded(sketches);
            if (wrong.empty()) return;
            for (size_t begin = 0, end; begin < wrong.size(); begin = end) {
                std::vector<int64_t> sides;
                for (end = begin; end < wrong.size() && wrong[end].ring == wrong[begin].ring; ++end)
                    sides.push_back(wrong[end].side);
                changed |= split(sketches[static_cast<size_t>(wrong[begin].ring)], sides, distance);
            }
        }
        sketches = exact();
    }

    double measured_iou(const std::vector<Sketch>& sketches) const {
        std::vector<double> xy;
        std::vector<int64_t> points{0};
        for (const Sketch& sketch : sketches) {
            for (const Point p : sketch.places) {
                xy.insert(xy.end(), {static_cast<double>(p.x) / 2, static_cast<double>(p.y) / 2});
            }
            points.push_back(static_cast<int64_t>(xy.size() / 2));
        }
        const int64_t parts[] = {0, static_cast<int64_t>(sketches.size())};
        const Rle filled = from_rings(rle_.height, rle_.width, xy, points, parts);
        int64_t first = 0, second = 0, shared = 0;
        OnesCursor a(rle_.runs(i_)), b(filled.runs(0));
        for (OnesCursor c = a; !c.done(); c.next()) first += c.end - c.begin;
        for (OnesCursor c = b; !c.done(); c.next()) second += c.end - c.begin;
        while (!a.done() && !b.done()) {
            shared += std::max<int64_t>(0, std::min(a.end, b.end) - std::max(a.begin, b.begin));
            (a.end <= b.end ? a : b).next();
        }
        return static_cast<double>(shared) / static_cast<double>(std::max<int64_t>(1, first + second - shared));
    }

    const Rle& rle_;
    int64_t i_;
    std::vector<Ring> rings_;
};

template <class Fn>
Simplified simplify(const Rle& rle, Fn&& sketch) {
    const Outlines outlines = trace(rle);
    const int64_t n = rle.size();
    std::vector<Simplified> parts(static_cast<size_t>(n));
    parallel_for(n, chunk_size(n, 256 * static_cast<int64_t>(rle.counts.size())), 0, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) MaskSimplifier::emit(sketch(MaskSimplifier(rle, i, outlines)), parts[i]);
    });
    Simplified whole;
    for (const Simplified& part : parts) {
        const int64_t points = whole.rings.back(), rings = whole.masks.back();
        whole.points.insert(whole.points.end(), part.points.begin(), part.points.end());
        for (size_t r = 1; r < part.rings.size(); ++r) whole.rings.push_back(points + part.rings[r]);
        whole.masks.push_back(rings + part.masks[1]);
    }
    return whole;
}

}  // namespace

Simplified simplify_within(const Rle& rle, double distance) {
    return simplify(rle, [&](const MaskSimplifier& mask) { return mask.within(distance); });
}

Simplified simplify_to_iou(const Rle& rle, double iou) {
    return simplify(rle, [&](const MaskSimplifier& mask) { return mask.to_iou(iou); });
}

}  // namespace delineate
