// A volume and a box, with progress and a way to stop, in C++17. Arguments: weights file.
//
//     c++ -std=c++17 volume.cpp -o volume $(pkg-config --cflags --libs medsegx) && ./volume medsegx_vit_b.safetensors
#include <medsegx.hpp>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <vector>

namespace {

constexpr std::uint32_t SIDE = 96, SLICES = 6;

// A bright ball on a dark ground, in place of a scanner's voxels.
std::vector<std::int16_t> ball() {
    std::vector<std::int16_t> voxels(SIDE * SIDE * SLICES);
    for (std::uint32_t i = 0; i < voxels.size(); i++) {
        const int x = int(i % SIDE) - 48, y = int(i / SIDE % SIDE) - 48;
        voxels[i] = x * x + y * y < 900 ? std::int16_t(160 + x % 9) : std::int16_t(-60 + y % 7);
    }
    return voxels;
}

std::int32_t progress(void *, std::uint64_t done, std::uint64_t total) {
    std::cerr << done << " of " << total << " slices\n";
    return 0; // anything else would stop the run
}

} // namespace

int main(int argc, char **argv) try {
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " WEIGHTS\n";
        return 2;
    }
    const medsegx::Model model(argv[1]);
    medsegx::Session session(model);
    const medsegx::Cancel cancel; // another thread may set it

    const auto voxels = ball();
    auto volume = medsegx::with_defaults(medsegx_volume_init);
    volume.pixel_type = MEDSEGX_PIXEL_I16;
    volume.voxels = voxels.data();
    volume.size = voxels.size() * sizeof voxels[0];
    volume.dims[0] = volume.dims[1] = SIDE;
    volume.dims[2] = SLICES;

    const auto liver = medsegx::context_of("CT_Liver");
    medsegx_target target{};
    target.label = 1;
    target.modality = liver.modality;
    target.body_part = liver.body_part;
    target.subregion = liver.subregion;
    target.organ = liver.organ;
    target.task = liver.task;
    const std::int64_t low[] = {18, 18, 1}, high[] = {78, 78, 4};
    std::copy(low, low + 3, target.low);
    std::copy(high, high + 3, target.high);

    std::vector<std::uint16_t> labels(voxels.size());
    auto result = medsegx::with_defaults(medsegx_volume_result_init);
    result.labels = labels.data();
    result.labels_count = labels.size();
    session.segment(volume, {target}, result, cancel.get(), progress);

    std::size_t inside = 0;
    for (const auto label : labels) inside += label == 1;
    std::cout << inside << " voxels on " << model.device() << '\n';
    return 0;
} catch (const medsegx::Error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
