// Mean-field inference in a fully connected CRF (Krähenbühl & Koltun, NeurIPS 2011) whose Gaussian
// filters work on the permutohedral lattice.
//
// Written by hand because pydensecrf, the library for this, takes twice the time and memory for the
// same probabilities, comes without wheels, and does not build with every Python.

#include "lattice.hpp"

namespace {

constexpr float NEVER = -1e30f;  // log probability of the classes that fill up a line

// e^x for −87 < x ≤ 0, to 2e-7 of its value; 0 below.
INLINE Lanes exponential(Lanes x) {
    Lanes power = x * 1.44269504f;
    power = power < -126 ? Lanes{} - 126 : power;
    const Integers whole = __builtin_convertvector(power, Integers) - 1;
    const Lanes part = power - __builtin_convertvector(whole, Lanes);  // in (0, 1]
    Lanes y = part * 1.8775767e-3f + 8.9893397e-3f;
    y = y * part + 5.5826318e-2f;
    y = y * part + 2.4015361e-1f;
    y = y * part + 6.9315308e-1f;
    y = y * part + 9.9999994e-1f;
    return y * reinterpret_cast<Lanes>((whole + 127) << 23);
}

// Marginals ← softmax over the classes of unary + messages, which lie where the marginals go.
INLINE void softmax(const Line* unary, Line* marginals, std::size_t stride) {
    const Lanes* scores = reinterpret_cast<const Lanes*>(unary);
    Lanes* values = reinterpret_cast<Lanes*>(marginals);
    Lanes most = Lanes{} + NEVER, sum{};
    for (std::size_t i = 0; i < 2 * stride; i++) {
        values[i] += scores[i];
        most = values[i] > most ? values[i] : most;
    }
    float top = NEVER, total = 0;
    for (int lane = 0; lane < LANES; lane++) top = std::max(top, most[lane]);
    for (std::size_t i = 0; i < 2 * stride; i++) sum += values[i] = exponential(values[i] - top);
    for (int lane = 0; lane < LANES; lane++) total += sum[lane];
    for (std::size_t i = 0; i < 2 * stride; i++) values[i] *= 1 / total;
}

struct Kernel {
    const Lattice* lattice;
    float weight;
    std::unique_ptr<Line[]> at;
};

// Marginals (pixels, stride lines), from unary of the same shape.
FOR_THIS_PROCESSOR void iterate(const Line* unary, Line* marginals, std::size_t pixels,
                                std::size_t stride, const std::vector<Kernel>& kernels,
                                int iterations) {
    const auto normalised = [&] {
        for (std::size_t p = 0; p < pixels; p++)
            softmax(unary + p * stride, marginals + p * stride, stride);
    };
    std::fill(marginals, marginals + pixels * stride, Line{});
    normalised();
    for (int iteration = 0; iteration < iterations; iteration++) {
        for (std::size_t some = 0; some < stride; some++) {
            for (const Kernel& kernel : kernels) {
                kernel.lattice->splat(marginals + some, stride, kernel.at.get());
                kernel.lattice->blur(kernel.at.get());
            }
            for (std::size_t p = 0; p < pixels; p++) {
                Line message{};
                for (const Kernel& kernel : kernels)
                    message.add(kernel.weight, kernel.lattice->slice(kernel.at.get(), p));
                marginals[p * stride + some] = message;
            }
        }
        normalised();
    }
}

Floats mean_field(const Floats& log_probabilities, const py::list& weighted, int iterations) {
    if (log_probabilities.ndim() != 2)
        throw std::invalid_argument("expected log probabilities (classes, pixels)");
    const std::size_t classes = log_probabilities.shape(0), pixels = log_probabilities.shape(1);
    std::vector<Kernel> kernels;
    for (const py::handle& each : weighted) {
        const auto [lattice, weight] = each.cast<std::pair<const Lattice*, float>>();
        if (lattice->pixels != pixels)
            throw std::invalid_argument("lattices and log probabilities differ in pixels");
        kernels.push_back({lattice, weight, lines(lattice->count)});
    }
    Floats result({classes, pixels});
    const float* given = log_probabilities.data();
    float* found = result.mutable_data();
    py::gil_scoped_release release;

    const std::size_t stride = (classes + CLASSES - 1) / CLASSES, width = stride * CLASSES;
    const auto unary = lines(pixels * stride), marginals = lines(pixels * stride);
    float* flat = reinterpret_cast<float*>(unary.get());
    for (std::size_t p = 0; p < pixels; p++)
        for (std::size_t c = 0; c < width; c++)
            flat[p * width + c] = c < classes ? given[c * pixels + p] : NEVER;
    iterate(unary.get(), marginals.get(), pixels, stride, kernels, iterations);
    flat = reinterpret_cast<float*>(marginals.get());
    for (std::size_t c = 0; c < classes; c++)
        for (std::size_t p = 0; p < pixels; p++) found[c * pixels + p] = flat[p * width + c];
    return result;
}

}  // namespace

PYBIND11_MODULE(_lattice, module) {
    py::class_<Lattice>(module, "Lattice")
        .def(py::init<const Floats&>(), py::arg("features"));
    module.def("mean_field", &mean_field, py::arg("log_probabilities"), py::arg("kernels"),
               py::arg("iterations"));
}
