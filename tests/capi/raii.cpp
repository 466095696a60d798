// The C++ wrapper: a golden picture through it, as a slice and as a volume, and failures as exceptions. Argument: the fixture's folder.
#include <medsegx.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

int main(int argc, char **argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s FIXTURE_FOLDER\n", argv[0]);
        return 2;
    }
    const std::string folder = argv[1];
    std::ifstream file(folder + "/picture.u8", std::ios::binary);
    const std::vector<char> picture((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    auto options = medsegx::with_defaults(medsegx_model_options_init);
    options.device = MEDSEGX_DEVICE_CPU;
    const medsegx::Model model(folder + "/tiny.safetensors", &options);
    medsegx::Session session(model);
    auto slice = medsegx::with_defaults(medsegx_slice_init);
    slice.pixel_type = MEDSEGX_PIXEL_U8;
    slice.pixels = picture.data();
    slice.height = slice.width = 256;
    slice.channels = 3;
    slice.intensity = MEDSEGX_INTENSITY_RAW;
    auto prompt = medsegx::with_defaults(medsegx_prompt_init);
    prompt.has_box = 1;
    prompt.box[2] = prompt.box[3] = 120;
    auto result = medsegx::with_defaults(medsegx_result_init);
    const medsegx_context context = medsegx::context_of("CT_Liver");
    session.segment(slice, &context, prompt, result);
    auto volume = medsegx::with_defaults(medsegx_volume_init);
    volume.voxels = picture.data();
    volume.size = picture.size();
    volume.dims[0] = volume.dims[1] = 256;
    volume.dims[2] = 1;
    volume.channels = 3;
    volume.intensity = MEDSEGX_INTENSITY_RAW;
    std::vector<std::uint16_t> labels(256 * 256);
    auto answer = medsegx::with_defaults(medsegx_volume_result_init);
    answer.labels = labels.data();
    answer.labels_count = labels.size();
    const medsegx_target target{5,
                                context.modality,
                                context.body_part,
                                context.subregion,
                                context.organ,
                                context.task,
                                {0, 0, 0},
                                {120, 120, 0},
                                nullptr,
                                0};
    medsegx::Cancel cancel;
    session.segment(volume, {target}, answer, cancel.get());
    const auto painted = static_cast<std::uint64_t>(std::count(labels.begin(), labels.end(), std::uint16_t{5}));
    cancel.set();
    bool cancelled = false;
    try {
        session.segment(volume, {target}, answer, cancel.get());
    } catch (const medsegx::Error &error) {
        cancelled = error.status() == MEDSEGX_STATUS_CANCELLED;
    }
    bool thrown = false, missing = false, empty = false;
    medsegx::Tuning tuning(folder + "/tiny.safetensors");
    try {
        tuning.run();
    } catch (const medsegx::Error &error) {
        empty = error.status() == MEDSEGX_STATUS_INVALID_ARGUMENT;
    }
    std::vector<unsigned char> label(256 * 256);
    std::fill(label.begin() + 60 * 256, label.begin() + 120 * 256, static_cast<unsigned char>(1));
    tuning.add(session, slice, &context, label, 0, 0);
    auto once = medsegx::with_defaults(medsegx_tune_options_init);
    once.steps = 1;
    once.validate = MEDSEGX_VALIDATE_NONE;
    const auto tuned = tuning.run(&once);
    medsegx::Session of_tuned(tuning.model(model));
    of_tuned.segment(slice, &context, prompt, result);
    tuning.write(folder + "/raii.tuned.safetensors", "liver", true);
    session.segment(slice, &context, prompt, result);
    try {
        const medsegx::Model none("/no/such/file", &options);
    } catch (const medsegx::Error &error) {
        missing = error.status() == MEDSEGX_STATUS_IO && !error.source().empty();
    }
    try {
        prompt.box[2] = 4000;
        session.segment(slice, &context, prompt, result);
    } catch (const medsegx::Error &error) {
        thrown = error.status() == MEDSEGX_STATUS_BAD_PROMPT && std::strstr(error.what(), "box") != nullptr;
    }
    std::printf("C++: %s, mask %d, %llu pixels\n", model.device().c_str(), result.chosen,
                static_cast<unsigned long long>(result.pixels));
    return thrown && missing && cancelled && empty && tuned.steps == 1 && painted == result.pixels && model.sha256().size() == 64 && model.info().image_size == 256 ? 0 : 1;
}
