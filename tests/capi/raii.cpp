// The C++ wrapper: a golden picture through it, and failures as exceptions. Argument: the fixture's folder.
#include <medsegx.hpp>

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
    bool thrown = false;
    try {
        prompt.box[2] = 4000;
        session.segment(slice, &context, prompt, result);
    } catch (const medsegx::Error &error) {
        thrown = error.status() == MEDSEGX_BAD_PROMPT && std::strstr(error.what(), "box") != nullptr;
    }
    std::printf("C++: %s, mask %d, %llu pixels\n", model.device().c_str(), result.chosen,
                static_cast<unsigned long long>(result.pixels));
    return thrown && model.info().image_size == 256 ? 0 : 1;
}
