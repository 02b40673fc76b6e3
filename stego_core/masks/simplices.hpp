// Points of the permutohedral lattice: the simplex around each pixel's features, and numbers of
// points.

#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace {

constexpr int MOST_DIMENSIONS = 6;

// Numbers of lattice points, from 1: a hash table with open addressing, at most half full.
class Numbers {
public:
    std::vector<uint64_t> points{0};  // by number; 0 is nobody

    // Begin to load what `find` and `add` of a point will read.
    void fetch(uint64_t point) const { __builtin_prefetch(&slots_[home(point)]); }

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
    int bits_ = 17;
    std::vector<Slot> slots_{std::size_t{1} << bits_};

    std::size_t home(uint64_t point) const { return (point * 0x9E3779B97F4A7C15u) >> (64 - bits_); }

    std::size_t slot(uint64_t point) const {
        std::size_t at = home(point);
        while (slots_[at].number != 0 && slots_[at].point != point)
            at = (at + 1) & (slots_.size() - 1);
        return at;
    }

    void grow() {
        bits_ += 2;
        slots_.assign(std::size_t{1} << bits_, Slot{});
        for (std::size_t number = 1; number < points.size(); number++) {
            fetch(points[std::min(number + 16, points.size() - 1)]);
            slots_[slot(points[number])] = {points[number], static_cast<int32_t>(number)};
        }
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

    // One in a coordinate; nothing in the last.
    uint64_t unit(int axis) const { return axis < d ? uint64_t{1} << (bits * axis) : 0; }

    // The next point along an axis: + d there, − 1 on all others.
    uint64_t next(uint64_t point, int axis) const {
        return point - ones + static_cast<uint64_t>(d + 1) * unit(axis);
    }
};

// The simplices around some pixels' features: their vertices, and the pixels' weights at them.
class Simplices {
public:
    static constexpr std::size_t PIXELS = 16;  // side by side, so that compilers make vectors
    template <typename T>
    using Each = std::array<T, PIXELS>;

    std::array<Each<uint64_t>, MOST_DIMENSIONS + 1> points;
    std::array<Each<float>, MOST_DIMENSIONS + 2> weights;

    explicit Simplices(int dimensions) : grid_(dimensions) {}

    // Of at most PIXELS pixels with features (pixels, d).
    void find(const float* features, std::size_t pixels) {
        elevate(features, pixels);
        rank();
        const int d = grid_.d;
        const float down = 1.0f / (d + 1);
        weights.fill({});
        for (std::size_t p = 0; p < PIXELS; p++) {
            uint64_t point = 0;
            std::array<uint64_t, MOST_DIMENSIONS + 1> unit;  // of the coordinate of each rank
            for (int i = 0; i <= d; i++) {
                const float part = (elevated_[i][p] - nearest_[i][p]) * down;
                const int behind = d - rank_[i][p];
                weights[behind][p] += part;
                weights[behind + 1][p] -= part;
                unit[behind] = grid_.unit(i);
                if (i < d) point += field(nearest_[i][p]) * grid_.unit(i);
            }
            weights[0][p] += 1 + weights[d + 1][p];
            for (int corner = 0; corner <= d; corner++) {
                weights[corner][p] = std::max(weights[corner][p], 0.0f);
                points[corner][p] = point;
                point += grid_.ones - static_cast<uint64_t>(d + 1) * unit[corner];
            }
        }
    }

private:
    Grid grid_;
    std::array<Each<float>, MOST_DIMENSIONS + 1> elevated_;
    std::array<Each<int32_t>, MOST_DIMENSIONS + 1> nearest_, rank_;

    uint64_t field(int coordinate) const {
        const int64_t half = int64_t{1} << (grid_.bits - 1);
        if (coordinate < 2 * grid_.d - half || coordinate >= half - 2 * grid_.d)
            throw std::invalid_argument("features reach further than the lattice; enlarge sigma");
        return static_cast<uint64_t>(coordinate + half);
    }

    // Features in the plane of the lattice, in which coordinates sum to 0.
    void elevate(const float* features, std::size_t pixels) {
        const int d = grid_.d;
        Each<float> sum{}, scaled{};
        for (int i = d; i > 0; i--) {
            for (std::size_t p = 0; p < pixels; p++)
                scaled[p] = grid_.scales[i - 1] * features[p * d + i - 1];
            for (std::size_t p = 0; p < PIXELS; p++) {
                elevated_[i][p] = sum[p] - i * scaled[p];
                sum[p] += scaled[p];
            }
        }
        elevated_[0] = sum;
    }

    // The nearest point whose coordinates are multiples of d + 1, and how many coordinates of the
    // rest are larger than each; of equal ones those behind it too.
    void rank() {
        const int d = grid_.d;
        const float down = 1.0f / (d + 1);
        Each<int32_t> off{};  // from the plane
        for (int i = 0; i <= d; i++) {
            for (std::size_t p = 0; p < PIXELS; p++) {
                const float cells = elevated_[i][p] * down;
                const int32_t rounded = static_cast<int32_t>(cells + std::copysign(0.5f, cells));
                nearest_[i][p] = rounded * (d + 1);
                off[p] += rounded;
            }
            rank_[i].fill(0);
        }
        for (int i = 0; i < d; i++)
            for (int j = i + 1; j <= d; j++)
                for (std::size_t p = 0; p < PIXELS; p++) {
                    const bool less =
                        elevated_[i][p] - nearest_[i][p] < elevated_[j][p] - nearest_[j][p];
                    rank_[i][p] += less;
                    rank_[j][p] += !less;
                }
        for (int i = 0; i <= d; i++)
            for (std::size_t p = 0; p < PIXELS; p++) {
                const int32_t ranked = rank_[i][p] + off[p];
                const int32_t turn = ranked < 0 ? d + 1 : ranked > d ? -(d + 1) : 0;
                rank_[i][p] = ranked + turn;
                nearest_[i][p] += turn;
            }
    }
};

}  // namespace
