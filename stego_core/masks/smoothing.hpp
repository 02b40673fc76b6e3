// The Gaussian filter of an image's pixels by their position, separable and exact.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <vector>

#include "rows.hpp"

namespace {

// A filter of σ pixels over an image, cut off at 3 σ, symmetrically normalised. Pixels without data
// take no part.
class Smoothing {
public:
    Smoothing(std::size_t height, std::size_t width, float sigma, const std::optional<Mask>& valid)
        : height(height), width(width), radius(static_cast<std::size_t>(std::ceil(3 * sigma))) {
        if (valid && static_cast<std::size_t>(valid->size()) != height * width)
            throw std::invalid_argument("the image and valid differ in pixels");
        for (std::size_t i = 0; i <= radius; i++)
            taps.push_back(std::exp(-0.5f * (i / sigma) * (i / sigma)));
        const bool* data = valid ? valid->data() : nullptr;
        std::vector<float> columns(width);
        roots.resize(height * width);
        for (std::size_t y = 0; y < height; y++) {
            std::fill(columns.begin(), columns.end(), 0);
            for (std::size_t other = first(y); other < past(y, height); other++)
                for (std::size_t x = 0; x < width; x++)
                    if (!data || data[other * width + x]) columns[x] += tap(y, other);
            for (std::size_t x = 0; x < width; x++) {
                if (data && !data[y * width + x]) continue;
                float sum = 0;
                for (std::size_t other = first(x); other < past(x, width); other++)
                    sum += tap(x, other) * columns[other];
                roots[y * width + x] = 1 / std::sqrt(sum);
            }
        }
    }

    const std::size_t height, width, radius;

    // Filtered values of a row of the image are those of its columns, filtered across and times the
    // pixel's root. `to` has zeros at both ends, as many as the radius.
    template <typename Values>
    INLINE void columns(std::size_t y, const Row<Values>* from, Values* to) const {
        for (std::size_t x = 0; x < width; x++) {
            Values sum;
            for (std::size_t other = first(y); other < past(y, height); other++) {
                const std::size_t pixel = other * width + x;
                sum.add(tap(y, other) * roots[pixel], from[pixel].read());
            }
            to[radius + x] = sum;
        }
    }

    template <typename Values>
    INLINE Values across(const Values* columns, std::size_t x) const {
        Values sum;
        sum.add(taps[0], columns[radius + x]);
        for (std::size_t i = 1; i <= radius; i++) {
            Values both = columns[radius + x - i];
            both.add(1, columns[radius + x + i]);
            sum.add(taps[i], both);
        }
        return sum;
    }

    float root(std::size_t pixel) const { return roots[pixel]; }

private:
    std::vector<float> taps;
    std::vector<float> roots;  // of each pixel: 1 / √ its answer to ones; 0 without data

    float tap(std::size_t here, std::size_t other) const {
        return taps[here < other ? other - here : here - other];
    }
    std::size_t first(std::size_t here) const { return here - std::min(here, radius); }
    std::size_t past(std::size_t here, std::size_t size) const {
        return std::min(size, here + radius + 1);
    }
};

}  // namespace
