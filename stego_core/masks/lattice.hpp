// The permutohedral lattice (Adams, Baek & Davis, Eurographics 2010): Gaussian filters of pixels by
// their features.
//
// The features of a pixel lie in a simplex of the lattice. A filter adds the values of each pixel
// to the d + 1 vertices of its simplex (splat), blurs them along the d + 1 axes of the lattice by
// (½ 1 ½), and reads them back (slice), each time with the pixel's barycentric weights.
//
// What makes it fast:
// - all classes are filtered at once, in 16 bits: 27 of a vertex are one cache line (`rows.hpp`);
// - a vertex collects from its pixels instead of pixels adding to vertices: it is written once, and
//   the blur along the first axis happens on the way, as vertices are numbered along its runs;
// - a blur walks along runs of neighbouring vertices in place: each is read and written once, and
//   a vertex without a neighbour on an axis costs nothing there;
// - runs are numbered in the order in which the image meets them: near in it, near in memory.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <vector>

#include "rows.hpp"
#include "simplices.hpp"

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Mask = py::array_t<bool, py::array::c_style | py::array::forcecast>;

namespace {

constexpr std::size_t AHEAD = 16;  // what is fetched while others are worked on

// A Gaussian filter of σ = 1 over n pixels with d features each, symmetrically normalised. Pixels
// without data take no part.
class Lattice {
public:
    Lattice(const Floats& features, const std::optional<Mask>& valid)
        : corners(dimensions(features) + 1), pixels(features.shape(0)) {
        if (valid && static_cast<std::size_t>(valid->size()) != pixels)
            throw std::invalid_argument("features and valid differ in pixels");
        if (pixels >= MOST_PIXELS) throw std::invalid_argument("expected fewer than 2^25 pixels");
        const float* given = features.data();
        const bool* data = valid ? valid->data() : nullptr;
        py::gil_scoped_release release;
        Numbers numbers;
        embed(given, data, numbers);
        count = numbers.points.size();
        for (int axis = 0; axis < static_cast<int>(corners); axis++)
            runs.push_back(run(neighbours(axis, numbers), axis == 0));
        number_along_first_axis();
        collect();
        normalise();
    }

    const std::size_t corners, pixels;
    std::size_t count = 0;  // of vertices, and nobody

    // Splat, then blur.
    template <typename Values>
    INLINE void spread(const Row<Values>* from, Row<Values>* at) const {
        Values before, here;
        for (std::size_t v = 0; v + 1 < count; v++) {
            Values after;
            for (std::size_t i = starts[v + 1]; i < starts[v + 2]; i++) {
                __builtin_prefetch(from + shares[i + AHEAD].pixel);
                after.add(shares[i].weight, from[shares[i].pixel].read());
            }
            Values blurred = here;
            blurred.add(first_links[v], before);
            blurred.add(first_links[v + 1], after);
            at[v].write(blurred);
            before = here;
            here = after;
        }
        here.add(first_links[count - 1], before);
        at[count - 1].write(here);
        for (const std::vector<Link>& axis : runs) blur(axis, at);
    }

    template <typename Values>
    INLINE Values slice(const Row<Values>* at, std::size_t pixel) const {
        Values sum;
        for (std::size_t i = pixel * corners; i < (pixel + 1) * corners; i++) {
            __builtin_prefetch(at + vertices[i + 2 * AHEAD]);
            sum.add(weights[i], at[vertices[i]].read());
        }
        return sum;
    }

private:
    static constexpr std::size_t MOST_PIXELS = 1 << 25;  // values at vertices reach √pixels

    struct Share {  // of a pixel at a vertex
        uint32_t pixel;
        float weight;
    };
    struct Link {
        int32_t vertex;
        float weight;  // ½ if the vertex before is its neighbour, 0 if a run begins
    };

    std::vector<int32_t> vertices;        // (pixels, corners)
    std::vector<float> weights;           // (pixels, corners)
    std::vector<float> first_links;       // of each vertex, on the first axis
    std::vector<std::vector<Link>> runs;  // of each other axis
    std::vector<uint32_t> starts;         // of each vertex's shares, and the end
    std::vector<Share> shares;

    static std::size_t dimensions(const Floats& features) {
        if (features.ndim() != 2 || features.shape(1) < 1 || features.shape(1) > MOST_DIMENSIONS)
            throw std::invalid_argument("expected features (pixels, 1 to 6)");
        return features.shape(1);
    }

    void embed(const float* features, const bool* data, Numbers& numbers) {
        vertices.resize(pixels * corners + 2 * AHEAD);  // what is fetched ahead must be there
        weights.resize(pixels * corners);
        Simplices simplices(static_cast<int>(corners) - 1);
        for (std::size_t first = 0; first < pixels; first += Simplices::PIXELS) {
            const std::size_t some = std::min(pixels - first, Simplices::PIXELS);
            simplices.find(features + first * (corners - 1), some);
            for (std::size_t i = 0; i < some; i++)
                for (std::size_t corner = 0; corner < corners; corner++)
                    numbers.fetch(simplices.points[corner][i]);
            for (std::size_t i = 0; i < some; i++) {
                if (data && !data[first + i]) continue;
                const std::size_t own = (first + i) * corners;
                for (std::size_t corner = 0; corner < corners; corner++) {
                    vertices[own + corner] = numbers.add(simplices.points[corner][i]);
                    weights[own + corner] = simplices.weights[corner][i];
                }
            }
        }
    }

    // The vertex after each on an axis, 0 where there is none.
    std::vector<int32_t> neighbours(int axis, const Numbers& numbers) const {
        const Grid grid(static_cast<int>(corners) - 1);
        std::vector<int32_t> next(count);
        for (std::size_t v = 1; v < count; v++) {
            numbers.fetch(grid.next(numbers.points[std::min(v + 2 * AHEAD, count - 1)], axis));
            next[v] = numbers.find(grid.next(numbers.points[v], axis));
        }
        return next;
    }

    // Runs along an axis of vertices that have neighbours there, or of all.
    std::vector<Link> run(const std::vector<int32_t>& next, bool all) const {
        std::vector<uint8_t> follows(count);
        for (const int32_t after : next) follows[after] = 1;
        std::vector<Link> found;
        found.reserve(count + AHEAD);
        for (std::size_t v = 1; v < count; v++) {
            if (follows[v] || (next[v] == 0 && !all)) continue;
            found.push_back({static_cast<int32_t>(v), 0});
            for (int32_t w = next[v]; w != 0; w = next[w]) found.push_back({w, 0.5f});
        }
        found.resize(found.size() + AHEAD);  // every vertex has something after it
        return found;
    }

    void number_along_first_axis() {
        std::vector<int32_t> numbers(count);
        first_links.assign(count + 1, 0);
        for (std::size_t v = 1; v < count; v++) {
            numbers[runs[0][v - 1].vertex] = static_cast<int32_t>(v);
            first_links[v] = runs[0][v - 1].weight;
        }
        runs.erase(runs.begin());
        for (std::vector<Link>& axis : runs)
            for (Link& link : axis) link.vertex = numbers[link.vertex];
        for (int32_t& vertex : vertices) vertex = numbers[vertex];
    }

    // The shares of each vertex's pixels, in the order of pixels.
    void collect() {
        starts.assign(count + 2, 0);
        for (const int32_t vertex : vertices) starts[vertex + 2] += vertex != 0;
        std::partial_sum(starts.begin(), starts.end(), starts.begin());
        shares.resize(starts[count + 1] + AHEAD);
        for (std::size_t i = 0; i < weights.size(); i++)
            if (vertices[i] != 0)
                shares[starts[vertices[i] + 1]++] = {static_cast<uint32_t>(i / corners), weights[i]};
    }

    template <typename Values>
    INLINE void blur(const std::vector<Link>& axis, Row<Values>* at) const {
        Values before, here = at[axis[0].vertex].read();
        for (std::size_t i = 0; i + AHEAD < axis.size(); i++) {
            __builtin_prefetch(at + axis[i + AHEAD].vertex);
            const Values after = at[axis[i + 1].vertex].read();
            Values blurred = here;
            blurred.add(axis[i].weight, before);
            blurred.add(axis[i + 1].weight, after);
            at[axis[i].vertex].write(blurred);
            before = here;
            here = after;
        }
    }

    // Weights over the root of the filter's answer to ones: D^−½ K D^−½.
    void normalise() {
        std::vector<float> at(count);
        for (std::size_t v = 1; v < count; v++)
            for (std::size_t i = starts[v]; i < starts[v + 1]; i++) at[v] += shares[i].weight;
        float before = 0;
        for (std::size_t v = 1; v < count; v++) {
            const float here = at[v];
            at[v] += first_links[v] * before + (v + 1 < count ? first_links[v + 1] * at[v + 1] : 0);
            before = here;
        }
        for (const std::vector<Link>& axis : runs) {
            before = 0;
            for (std::size_t i = 0; i + AHEAD < axis.size(); i++) {
                float& place = at[axis[i].vertex];
                const float here = place;
                place += axis[i].weight * before + axis[i + 1].weight * at[axis[i + 1].vertex];
                before = here;
            }
        }
        const float scale = 1 / (1 + std::ldexp(1.0f, 1 - static_cast<int>(corners)));
        std::vector<float> roots(pixels);
        for (std::size_t p = 0; p < pixels; p++) {
            float answer = 0;
            for (std::size_t i = p * corners; i < (p + 1) * corners; i++)
                answer += weights[i] * at[vertices[i]];
            roots[p] = std::sqrt(scale / (answer * scale + 1e-20f));
            for (std::size_t i = p * corners; i < (p + 1) * corners; i++) weights[i] *= roots[p];
        }
        for (Share& share : shares) share.weight *= roots[share.pixel];
    }
};

}  // namespace
