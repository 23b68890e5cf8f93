/* A runner that gets a folder instead of a model: what it says, and orders out of their turn. */
#include "runner_rig.h"

#include "hf_folder.h"

static void rig_over(rig *g, const char *how_wanted)
{
    wire_frame f;
    err_info err;
    char how[96];
    while (!wire_recv(g->w, &f, &err))
        ;
    assert_true(spawn_wait(g->pid, 10000, how));
    assert_string_equal(how, how_wanted);
    wire_close(g->w);
}

/* Files [from, to) in one frame; out_fd -1: another one follows. */
static void send_files(rig *g, const import_file *files, size_t from, size_t to, int out_fd)
{
    char head[1024] = "{\"names\":[";
    int fds[WIRE_MAX_FD];
    size_t n = 0;
    err_info err;
    for (size_t i = from; i < to; i++) {
        const size_t at = strlen(head);
        (void)snprintf(head + at, sizeof head - at, "%s\"%s\"", n ? "," : "", files[i].name);
        fds[n++] = files[i].fd;
    }
    const size_t at = strlen(head);
    (void)snprintf(head + at, sizeof head - at, "],\"more\":%s}", out_fd < 0 ? "true" : "false");
    if (out_fd >= 0)
        fds[n++] = out_fd;
    const wire_out f = {
        .type = WIRE_IMPORT, .head = head, .n_head = strlen(head), .fds = fds, .n_fd = n};
    if (wire_send(g->w, &f, &err))
        fail_msg("%s", err.text);
}

static void begin(rig *g)
{
    wire_frame f;
    rig_begin(g);
    rig_expect(g, WIRE_HELLO, &f);
}

static void converts(void **state)
{
    (void)state;
    rig g;
    hf_folder hf;
    import_file files[HF_MAX_FILE];
    wire_frame f;
    gguf_file *made = NULL;
    err_info err;
    int64_t done = 0, all = -1;
    hf_make(&hf, "LlamaForCausalLM", QUANT_A8G64_F16, false);
    const size_t n = hf_open(&hf, 3, files);
    const int out = hf_file("", 0);
    begin(&g);
    send_files(&g, files, 0, 2, -1);
    send_files(&g, files, 2, 3, -1);
    send_files(&g, files, 3, n, out);
    do {
        rig_next(&g, &f);
        if (f.type == WIRE_PROGRESS) {
            assert_true(wire_int(&f, "done", -1) >= done && wire_int(&f, "all", -1) > 0);
            done = wire_int(&f, "done", -1);
            all = wire_int(&f, "all", -1);
        }
    } while (f.type == WIRE_PROGRESS || f.type == WIRE_LOG);
    assert_int_equal(f.type, WIRE_DONE);
    assert_string_equal(wire_str(&f, "arch", ""), "llama");
    const int64_t n_tensor = wire_int(&f, "tensors", 0);
    rig_over(&g, "exited with status 0");
    assert_true(done == all && lseek(out, 0, SEEK_END) == all);
    assert_int_equal(gguf_open_fds(&out, 1, "made", &made, &err), CAMA_OK);
    assert_int_equal(gguf_n_tensor(made), n_tensor);
    gguf_close(made);
    (void)close(out); /* looked at */
    hf_close(files, n);
    hf_done(&hf);
}

static void refuses(void **state)
{
    (void)state;
    rig g;
    wire_frame f;
    const import_file files[] = {{"config.json", hf_file("{}", 2)},
                                 {"tokenizer.json", hf_file("{}", 2)}};
    const int out = hf_file("", 0);
    begin(&g);
    send_files(&g, files, 0, 2, out);
    rig_expect(&g, WIRE_FAIL, &f);
    assert_string_equal(wire_str(&f, "code", ""), "ERR_FORMAT");
    assert_string_equal(wire_str(&f, "text", ""), "config.json: 'architectures' names none");
    rig_over(&g, "exited with status 1");
    (void)close(out); /* empty */
    hf_close(files, 2);
}

static void out_of_turn(void **state)
{
    (void)state;
    static const char *const heads[] = {"{}", "{\"names\":[\"a\"]}",
                                        "{\"names\":[1],\"more\":true}", "{\"names\":7}",
                                        "{\"names\":[\"a\",\"b\"],\"more\":true}"};
    const import_file file = {"config.json", hf_file("{}", 2)};
    rig g;
    err_info err;
    for (size_t i = 0; i < TEST_COUNT(heads); i++) {
        begin(&g);
        const wire_out f = {.type = WIRE_IMPORT,
                            .head = heads[i],
                            .n_head = strlen(heads[i]),
                            .fds = &file.fd,
                            .n_fd = 1};
        assert_int_equal(wire_send(g.w, &f, &err), CAMA_OK);
        rig_over(&g, "exited with status 1");
    }
    char path[64];
    tiny_chat_file(path);
    begin(&g); /* a LOAD behind files; then files behind a LOAD */
    send_files(&g, &file, 0, 1, -1);
    rig_send_load(&g, path, "");
    rig_over(&g, "exited with status 1");
    rig_load(&g, path, "");
    send_files(&g, &file, 0, 1, -1);
    rig_over(&g, "exited with status 1");
    (void)unlink(path);
    begin(&g); /* the wire ends in the middle */
    send_files(&g, &file, 0, 1, -1);
    wire_shutdown(g.w);
    rig_over(&g, "exited with status 0");
    (void)close(file.fd); /* read */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(converts),
        cmocka_unit_test(refuses),
        cmocka_unit_test(out_of_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
