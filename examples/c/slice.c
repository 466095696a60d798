/* One slice, several boxes: the slice is encoded once. Arguments: weights file.
 *
 *     cc slice.c -o slice $(pkg-config --cflags --libs medsegx) && ./slice medsegx_vit_b.safetensors
 */
#include <medsegx.h>

#include <stdio.h>
#include <stdlib.h>

enum { H = 256, W = 320, BOXES = 3 };

/* Bright discs on a dark ground, in place of a scanner's pixels. */
static void paint(short *pixels) {
    for (int y = 0; y < H; y++) {
        for (int x = 0; x < W; x++) {
            int dx = x % 107 - 53, dy = y - 128;
            pixels[y * W + x] = (short)(dx * dx + dy * dy < 1600 ? 180 + x % 7 : -90 + y % 5);
        }
    }
}

int main(int argc, char **argv) {
    static short pixels[H * W];
    static unsigned char masks[BOXES][H * W];
    medsegx_model *model = NULL;
    medsegx_session *session = NULL;
    medsegx_error *error = NULL;
    int failed = 1;
    if (argc != 2) {
        fprintf(stderr, "usage: %s WEIGHTS\n", argv[0]);
        return 2;
    }
    paint(pixels);
    if (medsegx_model_open(argv[1], NULL, &model, &error)) goto done;
    if (medsegx_session_new(model, NULL, &session, &error)) goto done;

    medsegx_context_names names;
    medsegx_context_names_init(&names, sizeof names);
    names.task = "CT_Liver";
    medsegx_context context;
    medsegx_context_init(&context, sizeof context);
    if (medsegx_context_from_names(&names, &context, &error)) goto done;

    medsegx_slice slice;
    medsegx_slice_init(&slice, sizeof slice);
    slice.pixel_type = MEDSEGX_PIXEL_I16;
    slice.pixels = pixels;
    slice.height = H;
    slice.width = W;
    slice.intensity = MEDSEGX_INTENSITY_WINDOW;
    slice.low = -150;
    slice.high = 250;
    if (medsegx_session_set_slice(session, &slice, &context, NULL, &error)) goto done;

    medsegx_prompt prompts[BOXES];
    medsegx_result results[BOXES];
    for (int i = 0; i < BOXES; i++) {
        medsegx_prompt_init(&prompts[i], sizeof prompts[i]);
        prompts[i].has_box = 1;
        prompts[i].box[0] = 107 * i + 13;
        prompts[i].box[1] = 88;
        prompts[i].box[2] = 107 * i + 93;
        prompts[i].box[3] = 168;
        medsegx_result_init(&results[i], sizeof results[i]);
        results[i].mask = masks[i];
        results[i].mask_size = sizeof masks[i];
    }
    if (medsegx_session_prompt(session, prompts, sizeof *prompts, results, sizeof *results, BOXES, NULL, &error)) goto done;
    for (int i = 0; i < BOXES; i++) {
        printf("box %d: %llu pixels, agreement %.2f\n", i, (unsigned long long)results[i].pixels, results[i].agreement);
    }
    failed = 0;

done:
    if (error) fprintf(stderr, "%s\n", medsegx_error_message(error));
    medsegx_error_free(error);
    medsegx_session_free(session);
    medsegx_model_free(model);
    return failed;
}
