/* medsegx and another static library written in Rust (other.rs) in one program. */
#include <medsegx.h>
#include <stdio.h>

uint64_t other_sum(uint64_t n);

int main(void) {
    medsegx_model *model = NULL;
    medsegx_error *error = NULL;
    medsegx_status status = medsegx_model_open("/no/such/file", NULL, &model, &error);
    int right = status == MEDSEGX_STATUS_IO && medsegx_error_source(error) != NULL && other_sum(101) == 5050;
    medsegx_error_free(error);
    printf("two Rust libraries in one program: %s\n", right ? "both work" : "one does not");
    return right ? 0 : 1;
}
