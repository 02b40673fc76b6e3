// The permutohedral lattice (Adams, Baek & Davis, Eurographics 2010): Gaussian filters of pixels by
// their features.
//
// The features of a pixel lie in a simplex of the lattice. A filter adds the values of each pixel
// to the d + 1 vertices of its simplex (splat), blurs them along the d + 1 axes of the lattice by
// (½ 1 ½), and reads them back (slice), each time with the pixel's barycentric weights.
//
// What makes it fast:
// - classes are filtered sixteen at a time, so that a vertex is one cache line;
// - a blur walks along runs of neighbouring vertices in place: each is read and written once, and
//   a vertex without a neighbour on an axis costs nothing there;
// - vertices are numbered in the order in which the image meets them: near in it, near in memory.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

namespace {

constexpr int LANES = 8;
constexpr int MOST_DIMENSIONS = 6;
constexpr std::size_t AHEAD = 8;  // vertices that are fetched while others are blurred

typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));

struct alignas(64) Line {  // values of sixteen classes
    Lanes low, high;

    void add(float weight, const Line& other) {
        low += weight * other.low;
        high += weight * other.high;
    }
};
constexpr std::size_t CLASSES = sizeof(Line) / sizeof(float);

// One copy for processors with AVX2 and one for all others, chosen when the module is loaded.
#if defined(__x86_64__) && defined(__linux__) && !defined(__clang__)
#define FOR_THIS_PROCESSOR __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define FOR_THIS_PROCESSOR
#endif
#define INLINE inline __attribute__((always_inline))

std::unique_ptr<Line[]> lines(std::size_t count) {
    return std::unique_ptr<Line[]>(new Line[count]);  // not set to zero
}

// Numbers of lattice points, from 1: a hash table with open addressing, at most half full.
class Numbers {
public:
    std::vector<uint64_t> points{0};  // by number; 0 is nobody

    int32_t find(uint64_t point) const { return slots_[slot(point)].number; }

    int32_t add(uint64_t point) {
        Slot& found = slots_[slot(point)];
        if (found.number != 0) return found.number;
        const int32_t number = static_cast<int32_t>(points.size());
        found = {point, number};
        points.push_back(point);
        if (2 * points.size() > slots_.size()) grow();
        return number;
    }

private:
    struct Slot {
        uint64_t point = 0;
        int32_t number = 0;
    };
    std::vector<Slot> slots_{1 << 16};

    std::size_t slot(uint64_t point) const {
        const uint64_t mixed = point * 0x9E3779B97F4A7C15u;
        std::size_t at = (mixed ^ (mixed >> 32)) & (slots_.size() - 1);
        while (slots_[at].number != 0 && slots_[at].point != point)
            at = (at + 1) & (slots_.size() - 1);
        return at;
    }

    void grow() {
        slots_.assign(2 * slots_.size(), Slot{});
        for (std::size_t number = 1; number < points.size(); number++)
            slots_[slot(points[number])] = {points[number], static_cast<int32_t>(number)};
    }
};

// How features become lattice points, each one number: d coordinates of so many bits, side by
// side; the last coordinate follows from them.
struct Grid {
    int d, bits;
    uint64_t ones = 0;
    std::array<float, MOST_DIMENSIONS> scales;

    explicit Grid(int dimensions) : d(dimensions), bits(std::min(64 / dimensions, 31)) {
        for (int i = 0; i < d; i++) {
            ones |= unit(i);
            // with √⅔ (d + 1) the blur has the variance of a Gaussian of σ = 1
            scales[i] = std::sqrt(2.0f / 3 / ((i + 1) * (i + 2))) * (d + 1);
        }
    }

    uint64_t unit(int axis) const { return uint64_t{1} << (bits * axis); }

    uint64_t field(int coordinate, int axis) const {
        const int64_t half = int64_t{1} << (bits - 1);
        if (coordinate < d - half || coordinate >= half - d)
            throw std::invalid_argument("features reach further than the lattice; enlarge sigma");
        return static_cast<uint64_t>(coordinate + half) * unit(axis);
    }

    // The next point along an axis: + d there, − 1 on all others.
    uint64_t next(uint64_t point, int axis) const {
        return point - ones + (axis < d ? static_cast<uint64_t>(d + 1) * unit(axis) : 0);
    }
};

// The simplex around a pixel's features: its vertices, and the pixel's weights at them.
struct Simplex {
    std::array<uint64_t, MOST_DIMENSIONS + 1> points;
    std::array<float, MOST_DIMENSIONS + 2> weights;

    Simplex(const float* features, const Grid& grid) {
        const int d = grid.d;
        std::array<float, MOST_DIMENSIONS + 1> elevated;
        std::array<int, MOST_DIMENSIONS + 1> nearest, rank{};
        const float down = 1.0f / (d + 1);
        float sum = 0;
        for (int i = d; i > 0; i--) {
            const float scaled = grid.scales[i - 1] * features[i - 1];
            elevated[i] = sum - i * scaled;
            sum += scaled;
        }
        elevated[0] = sum;

        int off = 0;  // from the plane in which the lattice lies
        for (int i = 0; i <= d; i++) {
            const float cells = elevated[i] * down;
            const int rounded = static_cast<int>(cells < 0 ? cells - 0.5f : cells + 0.5f);
            nearest[i] = rounded * (d + 1);
            off += rounded;
        }
        const auto rest = [&](int i) { return elevated[i] - nearest[i]; };
        for (int i = 0; i < d; i++)
            for (int j = i + 1; j <= d; j++) rank[rest(i) < rest(j) ? i : j]++;
        for (int i = 0; i <= d; i++) {
            rank[i] += off;
            const int turn = rank[i] < 0 ? d + 1 : rank[i] > d ? -(d + 1) : 0;
            rank[i] += turn;
            nearest[i] += turn;
        }

        weights.fill(0);
        for (int i = 0; i <= d; i++) {
            const float part = rest(i) * down;
            weights[d - rank[i]] += part;
            weights[d - rank[i] + 1] -= part;
        }
        weights[0] += 1 + weights[d + 1];
        for (int corner = 0; corner <= d; corner++) {
            points[corner] = 0;
            for (int i = 0; i < d; i++) {
                const int step = rank[i] <= d - corner ? corner : corner - (d + 1);
                points[corner] |= grid.field(nearest[i] + step, i);
            }
        }
    }
};

// A Gaussian filter of σ = 1 over n pixels with d features each, symmetrically normalised.
class Lattice {
public:
    explicit Lattice(const Floats& features)
        : corners(dimensions(features) + 1), pixels(features.shape(0)) {
        const int d = static_cast<int>(corners) - 1;
        py::gil_scoped_release release;
        const Grid grid(d);
        Numbers numbers;
        vertices.reserve(pixels * corners);
        weights.reserve(pixels * corners);
        for (std::size_t p = 0; p < pixels; p++) {
            const Simplex simplex(features.data() + p * d, grid);
            for (std::size_t corner = 0; corner < corners; corner++) {
                vertices.push_back(numbers.add(simplex.points[corner]));
                weights.push_back(simplex.weights[corner]);
            }
        }
        count = numbers.points.size();
        for (int axis = 0; axis <= d; axis++) runs.push_back(run(axis, numbers, grid));
        normalise();
    }

    const std::size_t corners, pixels;
    std::size_t count = 0;  // of vertices, and nobody

    INLINE void splat(const Line* values, std::size_t stride, Line* at) const {
        for (std::size_t v = 0; v < count; v++) at[v] = Line{};
        for (std::size_t p = 0; p < pixels; p++) {
            const Line own = values[p * stride];
            for (std::size_t i = p * corners; i < (p + 1) * corners; i++)
                at[vertices[i]].add(weights[i], own);
        }
    }

    INLINE void blur(Line* at) const {
        for (const std::vector<int32_t>& axis : runs) {
            Line before{};
            for (std::size_t i = 0; i + AHEAD < axis.size(); i++) {
                __builtin_prefetch(at + std::abs(axis[i + AHEAD]));
                if (axis[i] < 0) before = Line{};
                Line& here = at[std::abs(axis[i])];
                const Line& after = at[std::max(axis[i + 1], 0)];
                const Line kept = here;
                before.add(1, after);
                here.add(0.5f, before);
                before = kept;
            }
        }
    }

    INLINE Line slice(const Line* at, std::size_t pixel) const {
        Line sum{};
        for (std::size_t i = pixel * corners; i < (pixel + 1) * corners; i++)
            sum.add(weights[i], at[vertices[i]]);
        return sum;
    }

private:
    static std::size_t dimensions(const Floats& features) {
        if (features.ndim() != 2 || features.shape(1) < 1 || features.shape(1) > MOST_DIMENSIONS)
            throw std::invalid_argument("expected features (pixels, 1 to 6)");
        return features.shape(1);
    }

    std::vector<int32_t> vertices;           // (pixels, corners)
    std::vector<float> weights;              // (pixels, corners)
    std::vector<std::vector<int32_t>> runs;  // of each axis; the first vertex of a run is negated

    std::vector<int32_t> run(int axis, const Numbers& numbers, const Grid& grid) const {
        std::vector<int32_t> next(count), found;
        std::vector<bool> follows(count);
        for (std::size_t v = 1; v < count; v++) {
            next[v] = numbers.find(grid.next(numbers.points[v], axis));
            follows[next[v]] = true;
        }
        for (std::size_t v = 1; v < count; v++) {
            if (follows[v] || next[v] == 0) continue;
            found.push_back(-static_cast<int32_t>(v));
            for (int32_t w = next[v]; w != 0; w = next[w]) found.push_back(w);
        }
        found.resize(found.size() + AHEAD);  // every vertex has something after it
        return found;
    }

    // Weights over the root of the filter's answer to ones: D^−½ K D^−½.
    FOR_THIS_PROCESSOR void normalise() {
        const auto at = lines(count);
        const Line ones{Lanes{} + 1, Lanes{}};
        splat(&ones, 0, at.get());
        blur(at.get());
        const float scale = 1 / (1 + std::ldexp(1.0f, 1 - static_cast<int>(corners)));
        for (std::size_t p = 0; p < pixels; p++) {
            const float answer = slice(at.get(), p).low[0] * scale;
            for (std::size_t i = p * corners; i < (p + 1) * corners; i++)
                weights[i] *= std::sqrt(scale / (answer + 1e-20f));
        }
    }
};

}  // namespace
