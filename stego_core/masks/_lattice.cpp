// Mean-field inference in a fully connected CRF (Krähenbühl & Koltun, NeurIPS 2011) whose bilateral
// filter works on the permutohedral lattice.
//
// Written by hand because pydensecrf, the library for this, takes many times the time and memory
// for the same classes, comes without wheels, and does not build with every Python.

#include <pybind11/stl.h>

#include "lattice.hpp"
#include "smoothing.hpp"

namespace {

constexpr float NEVER = -1e30f;  // log probability of the classes that fill up a row

// Each lane next to the one whose number differs by a bit.
template <int BIT, typename Floats, int... I>
INLINE Floats turned(Floats x, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(x, x, (I ^ BIT)...);
}

// The sum of all lanes, in each.
template <typename Values, int BIT = 1>
INLINE typename Values::Floats summed(typename Values::Floats x) {
    x += turned<BIT>(x, std::make_integer_sequence<int, Values::LANES>());
    if constexpr (2 * BIT < Values::LANES) return summed<Values, 2 * BIT>(x);
    return x;
}

// e^x for −87 < x < 80, to 3e-7 of its value; e^80 above, 1e-38 below.
template <typename Values>
INLINE typename Values::Floats exponential(typename Values::Floats x) {
    using Floats = typename Values::Floats;
    using Words = typename Values::Words;
    constexpr float per_e = 1.44269504f, shift = 0x1.8p23f;  // to which a sum is rounded
    x = x > -87 ? x : Floats{} - 87;
    x = x < 80 ? x : Floats{} + 80;
    const Floats whole = x * per_e + shift;
    const Floats part = x * per_e - (whole - shift);  // in [−½, ½]
    Floats y = part * 1.3264727e-3f + 9.6715129e-3f;
    y = y * part + 5.5507338e-2f;
    y = y * part + 2.4022242e-1f;
    y = y * part + 6.9314698e-1f;
    y = y * part + 1;
    return reinterpret_cast<Floats>(reinterpret_cast<Words>(y) +
                                    (reinterpret_cast<Words>(whole) << 23));
}

// Scores ← `one` times their softmax over the classes. The largest lies between 0 and 80, so that
// sums need no other scale.
template <typename Values>
INLINE void softmax(Values* scores, std::size_t stride, float one) {
    typename Values::Floats sum{};
    for (std::size_t some = 0; some < stride; some++)
        for (int i = 0; i < Values::COUNT; i++) {
            scores[some].first[i] = exponential<Values>(scores[some].first[i]);
            scores[some].second[i] = exponential<Values>(scores[some].second[i]);
            sum += scores[some].first[i] + scores[some].second[i];
        }
    const float factor = one / summed<Values>(sum)[0];
    for (std::size_t some = 0; some < stride; some++)
        for (int i = 0; i < Values::COUNT; i++) {
            scores[some].first[i] *= factor;
            scores[some].second[i] *= factor;
        }
}

struct Field {
    const Lattice& lattice;
    float lattice_weight;
    const Smoothing& smoothing;
    float smoothing_weight;
    int iterations;
    const float* given;  // log probabilities, with the steps from a class and a pixel to the next
    std::ptrdiff_t class_step, pixel_step;
    std::size_t classes;
    float* found;  // marginals (classes, pixels)

    template <typename Values>
    INLINE void infer() const {
        const NoSubnormals fast;
        const std::size_t width = smoothing.width, pixels = lattice.pixels;
        const std::size_t stride = (classes + Values::CLASSES - 1) / Values::CLASSES;
        const auto unary = unset<Values>(pixels * stride);
        auto before = unset<Row<Values>>(pixels * stride), after = unset<Row<Values>>(pixels * stride);
        const auto at = unset<Row<Values>>(lattice.count * stride);
        const std::size_t room = width + 2 * smoothing.radius;
        const auto columns = std::make_unique<Values[]>(room * stride);
        const auto row = unset<Values>(width * stride);
        begin(unary.get(), stride);
        for (int iteration = 0; iteration <= iterations; iteration++) {
            const bool last = iteration == iterations;
            for (std::size_t some = 0; some < stride && iteration > 0; some++)
                lattice.spread(before.get() + some * pixels, at.get() + some * lattice.count);
            for (std::size_t y = 0, pixel = 0; y < smoothing.height; y++) {
                for (std::size_t some = 0; some < stride && iteration > 0; some++)
                    smoothing.columns(y, before.get() + some * pixels, columns.get() + some * room);
                for (std::size_t x = 0; x < width; x++, pixel++) {
                    Values* own = row.get() + (last ? x * stride : 0);
                    for (std::size_t some = 0; some < stride; some++) {
                        own[some] = unary[pixel * stride + some];
                        if (iteration == 0) continue;
                        own[some].add(smoothing_weight / ONE * smoothing.root(pixel),
                                      smoothing.across(columns.get() + some * room, x));
                        own[some].add(lattice_weight / ONE,
                                      lattice.slice(at.get() + some * lattice.count, pixel));
                    }
                    softmax(own, stride, last ? 1 : ONE);
                    for (std::size_t some = 0; some < stride && !last; some++)
                        after[some * pixels + pixel].write(own[some]);
                }
                if (last) end(reinterpret_cast<const float*>(row.get()), y, stride * Values::CLASSES);
            }
            std::swap(before, after);
        }
    }

private:
    // Keep the marginals of a row of the image.
    INLINE void end(const float* marginals, std::size_t y, std::size_t room) const {
        for (std::size_t c = 0; c < classes; c++)
            for (std::size_t x = 0; x < smoothing.width; x++)
                found[c * lattice.pixels + y * smoothing.width + x] = marginals[x * room + c];
    }

    // Log probabilities less the pixel's largest.
    template <typename Values>
    INLINE void begin(Values* unary, std::size_t stride) const {
        float* own = reinterpret_cast<float*>(unary);
        const std::size_t room = stride * Values::CLASSES;
        for (std::size_t p = 0; p < lattice.pixels; p++, own += room) {
            const float* from = given + static_cast<std::ptrdiff_t>(p) * pixel_step;
            float most = NEVER;
            for (std::size_t c = 0; c < classes; c++) {
                own[c] = from[static_cast<std::ptrdiff_t>(c) * class_step];
                most = std::max(most, own[c]);
            }
            for (std::size_t c = 0; c < classes; c++) own[c] -= most;
            for (std::size_t c = classes; c < room; c++) own[c] = NEVER;
        }
    }
};

// Rows of 8, 16 or 32 classes, in vectors of at most so many lanes: of more than the processor has,
// compilers make single numbers.
template <int CLASSES, int MOST>
using Fitting = Values<std::min(CLASSES / 2, MOST), CLASSES / 2 / std::min(CLASSES / 2, MOST)>;

template <int MOST>
INLINE void infer(const Field& field) {
    if (field.classes <= 8)
        field.infer<Fitting<8, MOST>>();
    else if (field.classes <= 16)
        field.infer<Fitting<16, MOST>>();
    else
        field.infer<Fitting<32, MOST>>();
}

void infer_anywhere(const Field& field) { infer<4>(field); }

#if defined(__x86_64__) && defined(__linux__) && !defined(__clang__)
__attribute__((target("arch=x86-64-v3"))) void infer_avx2(const Field& field) { infer<8>(field); }
__attribute__((target("arch=x86-64-v4"))) void infer_avx512(const Field& field) {
    infer<16>(field);
}

void infer_here(const Field& field) {
    if (__builtin_cpu_supports("x86-64-v4")) return infer_avx512(field);
    if (__builtin_cpu_supports("x86-64-v3")) return infer_avx2(field);
    infer_anywhere(field);
}
#else
void infer_here(const Field& field) { infer_anywhere(field); }
#endif

Floats mean_field(const py::array_t<float, py::array::forcecast>& log_probabilities,
                      const std::pair<const Lattice*, float>& alike,
                      const std::pair<const Smoothing*, float>& near, int iterations) {
    if (log_probabilities.ndim() != 2)
        throw std::invalid_argument("expected log probabilities (classes, pixels)");
    const std::size_t classes = log_probabilities.shape(0), pixels = log_probabilities.shape(1);
    if (alike.first->pixels != pixels || near.first->height * near.first->width != pixels)
        throw std::invalid_argument("filters and log probabilities differ in pixels");
    Floats found({classes, pixels});
    const std::ptrdiff_t size = sizeof(float);
    const Field field{*alike.first,
                      alike.second,
                      *near.first,
                      near.second,
                      iterations,
                      log_probabilities.data(),
                      log_probabilities.strides(0) / size,
                      log_probabilities.strides(1) / size,
                      classes,
                      found.mutable_data()};
    {
        py::gil_scoped_release release;
        infer_here(field);
    }
    return found;
}

// The most likely class of some pixels side by side, and 255 times its margin.
constexpr std::size_t TOGETHER = 64;

void decide(const float* marginals, std::size_t classes, std::size_t pixels, std::size_t some,
            uint8_t* best_class, uint8_t* margin) {
    std::array<float, TOGETHER> best, second{};
    std::array<int32_t, TOGETHER> which{};
    std::copy_n(marginals, some, best.begin());
    for (std::size_t c = 1; c < classes; c++) {
        const float* own = marginals + c * pixels;
        for (std::size_t p = 0; p < some; p++) {
            second[p] = std::max(second[p], std::min(best[p], own[p]));
            which[p] = own[p] > best[p] ? static_cast<int32_t>(c) : which[p];
            best[p] = std::max(best[p], own[p]);
        }
    }
    for (std::size_t p = 0; p < some; p++) {
        best_class[p] = static_cast<uint8_t>(which[p]);
        const float part = std::clamp(best[p] - second[p], 0.0f, 1.0f);
        margin[p] = static_cast<uint8_t>(std::nearbyint(255 * part));
    }
}

py::array_t<uint8_t> decisions(const Floats& marginals) {
    if (marginals.ndim() != 2 || marginals.shape(0) < 1 || marginals.shape(0) > 256)
        throw std::invalid_argument("expected marginals (1 to 256 classes, pixels)");
    const std::size_t classes = marginals.shape(0), pixels = marginals.shape(1);
    py::array_t<uint8_t> found({std::size_t{2}, pixels});
    const float* given = marginals.data();
    uint8_t* at = found.mutable_data();
    py::gil_scoped_release release;
    for (std::size_t first = 0; first < pixels; first += TOGETHER)
        decide(given + first, classes, pixels, std::min(TOGETHER, pixels - first), at + first,
               at + pixels + first);
    return found;
}

}  // namespace

PYBIND11_MODULE(_lattice, module) {
    py::class_<Lattice>(module, "Lattice")
        .def(py::init<const Floats&, const std::optional<Mask>&>(), py::arg("features"),
             py::arg("valid") = py::none());
    py::class_<Smoothing>(module, "Smoothing")
        .def(py::init<std::size_t, std::size_t, float, const std::optional<Mask>&>(),
             py::arg("height"), py::arg("width"), py::arg("sigma"), py::arg("valid") = py::none());
    module.def("mean_field", &mean_field, py::arg("log_probabilities"), py::arg("alike"),
               py::arg("near"), py::arg("iterations"));
    module.def("decisions", &decisions, py::arg("marginals"));
}
