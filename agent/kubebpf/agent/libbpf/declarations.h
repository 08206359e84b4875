/* What of libbpf, libc and the kernel's user API is called, for cffi's ABI mode; `hack/gen-bindings.py` makes bindings.py from it.
 *
 * Only what is called stands here. Layouts follow libbpf 1.1's headers (bpf.h, libbpf.h) and include/uapi/linux/{bpf,perf_event}.h;
 * option structures begin with their own size (`sz`), so a newer libbpf takes these older, shorter forms. A `va_list` is a pointer
 * at the call on x86-64 (an array of one) and on arm64 (a large structure is passed by reference): `void *` in the print callback.
 */

typedef uint8_t __u8; typedef uint32_t __u32; typedef uint64_t __u64; typedef int32_t __s32; typedef int64_t __s64;
struct bpf_object; struct bpf_program; struct bpf_map; struct bpf_link; struct btf; struct btf_ext; struct ring_buffer; struct perf_buffer;

struct bpf_object_open_opts {
    size_t sz;
    const char *object_name;
    bool relaxed_maps;
    const char *pin_root_path;
    __u32 unused;
    const char *kconfig;
    const char *btf_custom_path;
    char *kernel_log_buf;
    size_t kernel_log_size;
    __u32 kernel_log_level;
};
struct bpf_perf_event_opts { size_t sz; __u64 bpf_cookie; };
struct bpf_tracepoint_opts { size_t sz; __u64 bpf_cookie; };
struct bpf_trace_opts { size_t sz; __u64 cookie; };
struct bpf_kprobe_opts { size_t sz; __u64 bpf_cookie; size_t offset; bool retprobe; };
struct bpf_uprobe_opts { size_t sz; size_t ref_ctr_offset; __u64 bpf_cookie; bool retprobe; const char *func_name; };
struct bpf_link_create_opts {
    size_t sz; __u32 flags; void *iter_info; __u32 iter_info_len, target_btf_id;
    union {
        struct { __u64 bpf_cookie; } perf_event;
        struct { __u32 flags, cnt; const char **syms; const unsigned long *addrs; const __u64 *cookies; } kprobe_multi;
        struct { __u64 cookie; } tracing;
    };
};
struct bpf_prog_load_opts {
    size_t sz; int attempts; __u32 expected_attach_type, prog_btf_fd, prog_flags, prog_ifindex, kern_version;
    __u32 attach_btf_id, attach_prog_fd, attach_btf_obj_fd; const int *fd_array;
    const void *func_info; __u32 func_info_cnt, func_info_rec_size; const void *line_info; __u32 line_info_cnt, line_info_rec_size;
    __u32 log_level, log_size; char *log_buf;
};
struct btf_type { __u32 name_off, info, size; };
struct bpf_insn { __u8 code, registers; short off; __s32 imm; };
struct bpf_btf_info { __u64 btf; __u32 btf_size, id; __u64 name; __u32 name_len, kernel_btf; };
struct bpf_map_batch_opts { size_t sz; __u64 elem_flags; __u64 flags; };
struct bpf_test_run_opts {
    size_t sz;
    const void *data_in; void *data_out; __u32 data_size_in; __u32 data_size_out;
    const void *ctx_in; void *ctx_out; __u32 ctx_size_in; __u32 ctx_size_out;
    __u32 retval; int repeat; __u32 duration; __u32 flags; __u32 cpu; __u32 batch_size;
};

struct bpf_prog_info {
    __u32 type, id; __u8 tag[8]; __u32 jited_prog_len, xlated_prog_len; __u64 jited_prog_insns, xlated_prog_insns, load_time;
    __u32 created_by_uid, nr_map_ids; __u64 map_ids; char name[16]; __u32 ifindex, gpl_compatible; __u64 netns_dev, netns_ino;
    __u32 nr_jited_ksyms, nr_jited_func_lens; __u64 jited_ksyms, jited_func_lens; __u32 btf_id, func_info_rec_size;
    __u64 func_info; __u32 nr_func_info, nr_line_info; __u64 line_info, jited_line_info;
    __u32 nr_jited_line_info, line_info_rec_size, jited_line_info_rec_size, nr_prog_tags; __u64 prog_tags;
    __u64 run_time_ns, run_cnt, recursion_misses; __u32 verified_insns, attach_btf_obj_id, attach_btf_id;
};
struct bpf_map_info {
    __u32 type, id, key_size, value_size, max_entries, map_flags; char name[16];
    __u32 ifindex, btf_vmlinux_value_type_id; __u64 netns_dev, netns_ino; __u32 btf_id, btf_key_type_id, btf_value_type_id, pad;
    __u64 map_extra;
};
struct bpf_link_info { __u32 type, id, prog_id, pad; __u8 rest[112]; };

struct prog_load_attr {
    __u32 type, count; const void *code; const char *license; __u32 log_level, log_size; __u64 log_buf; __u32 kern_version, prog_flags;
    char name[16]; __u32 ifindex, expected_attach_type;
};
struct uprobe_multi_attr {
    __u32 prog_fd, target_fd, attach_type, flags;
    const char *path; const __u64 *offsets; const __u64 *ref_ctr_offsets; const __u64 *cookies; __u32 cnt, multi_flags, pid, pad;
};
struct raw_tracepoint_attr { const char *name; __u32 prog_fd, pad; __u64 cookie; };

struct perf_event_attr {
    __u32 type, size; __u64 config, sample_period, sample_type, read_format, flags;
    __u32 wakeup_events, bp_type; __u64 config1, config2;
};

/* libbpf */

typedef int (*libbpf_print_fn_t)(int level, const char *format, void *arguments);
libbpf_print_fn_t libbpf_set_print(libbpf_print_fn_t fn);
const char *libbpf_version_string(void);
int libbpf_probe_bpf_helper(int prog_type, int helper_id, const void *opts);
int libbpf_num_possible_cpus(void);
int libbpf_find_vmlinux_btf_id(const char *name, int attach_type);

struct bpf_object *bpf_object__open_mem(const void *obj_buf, size_t obj_buf_sz, const struct bpf_object_open_opts *opts);
int bpf_object__load(struct bpf_object *obj);
void bpf_object__close(struct bpf_object *obj);
struct bpf_program *bpf_object__next_program(const struct bpf_object *obj, struct bpf_program *prog);
struct bpf_map *bpf_object__next_map(const struct bpf_object *obj, const struct bpf_map *map);

int bpf_program__fd(const struct bpf_program *prog);
const char *bpf_program__name(const struct bpf_program *prog);
const char *bpf_program__section_name(const struct bpf_program *prog);
int bpf_program__type(const struct bpf_program *prog);
bool bpf_program__autoload(const struct bpf_program *prog);
int bpf_program__set_autoload(struct bpf_program *prog, bool autoload);
int bpf_program__set_type(struct bpf_program *prog, int type);
int bpf_program__expected_attach_type(const struct bpf_program *prog);
int bpf_program__set_expected_attach_type(struct bpf_program *prog, int type);
int bpf_program__set_attach_target(struct bpf_program *prog, int attach_prog_fd, const char *attach_func_name);
const struct bpf_insn *bpf_program__insns(const struct bpf_program *prog);
size_t bpf_program__insn_cnt(const struct bpf_program *prog);
int bpf_program__pin(struct bpf_program *prog, const char *path);
int bpf_program__unpin(struct bpf_program *prog, const char *path);
struct bpf_link *bpf_program__attach_perf_event_opts(const struct bpf_program *prog, int pfd,
    const struct bpf_perf_event_opts *opts);
struct bpf_link *bpf_program__attach_tracepoint_opts(const struct bpf_program *prog, const char *tp_category, const char *tp_name,
    const struct bpf_tracepoint_opts *opts);
struct bpf_link *bpf_program__attach_trace_opts(const struct bpf_program *prog, const struct bpf_trace_opts *opts);
struct bpf_link *bpf_program__attach_kprobe_opts(const struct bpf_program *prog, const char *func_name,
    const struct bpf_kprobe_opts *opts);
struct bpf_link *bpf_program__attach_uprobe_opts(const struct bpf_program *prog, int pid, const char *binary_path,
    size_t func_offset, const struct bpf_uprobe_opts *opts);
struct bpf_link *bpf_program__attach_iter(const struct bpf_program *prog, const void *opts);
int bpf_iter_create(int link_fd);
int bpf_link_create(int prog_fd, int target_fd, int attach_type, const struct bpf_link_create_opts *opts);
int bpf_prog_load(int prog_type, const char *prog_name, const char *license, const struct bpf_insn *insns, size_t insn_cnt,
    const struct bpf_prog_load_opts *opts);

struct btf *btf__load_vmlinux_btf(void);
struct btf *btf__parse(const char *path, struct btf_ext **btf_ext);
__u32 btf__type_cnt(const struct btf *btf);
__s64 btf__resolve_size(const struct btf *btf, __u32 type_id);
struct btf *btf__load_module_btf(const char *module_name, struct btf *vmlinux_btf);
struct btf *btf__load_from_kernel_by_id(__u32 id);
__s32 btf__find_by_name_kind(const struct btf *btf, const char *type_name, __u32 kind);
const struct btf_type *btf__type_by_id(const struct btf *btf, __u32 id);
const char *btf__name_by_offset(const struct btf *btf, __u32 offset);
void btf__free(struct btf *btf);
int bpf_btf_get_next_id(__u32 start_id, __u32 *next_id);
int bpf_btf_get_fd_by_id(__u32 id);
int bpf_prog_get_next_id(__u32 start_id, __u32 *next_id);

struct bpf_link *bpf_link__open(const char *path);
int bpf_link__fd(const struct bpf_link *link);
int bpf_link__detach(struct bpf_link *link);
int bpf_link__destroy(struct bpf_link *link);
void bpf_link__disconnect(struct bpf_link *link);
int bpf_link__pin(struct bpf_link *link, const char *path);
int bpf_link__unpin(struct bpf_link *link);

const char *bpf_map__name(const struct bpf_map *map);
int bpf_map__fd(const struct bpf_map *map);
__u32 bpf_map__key_size(const struct bpf_map *map);
__u32 bpf_map__value_size(const struct bpf_map *map);
__u32 bpf_map__max_entries(const struct bpf_map *map);
int bpf_map__set_max_entries(struct bpf_map *map, __u32 max_entries);
__u32 bpf_map__map_flags(const struct bpf_map *map);
int bpf_map__set_map_flags(struct bpf_map *map, __u32 flags);
int bpf_map__type(const struct bpf_map *map);
void *bpf_map__initial_value(struct bpf_map *map, size_t *psize);
int bpf_map__pin(struct bpf_map *map, const char *path);
int bpf_map__unpin(struct bpf_map *map, const char *path);

int bpf_map_lookup_elem(int fd, const void *key, void *value);
int bpf_map_lookup_and_delete_elem(int fd, const void *key, void *value);
int bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags);
int bpf_map_delete_elem(int fd, const void *key);
int bpf_map_get_next_key(int fd, const void *key, void *next_key);
int bpf_map_lookup_batch(int fd, void *in_batch, void *out_batch, void *keys, void *values, __u32 *count,
    const struct bpf_map_batch_opts *opts);

int bpf_obj_get(const char *pathname);
int bpf_obj_pin(int fd, const char *pathname);
int bpf_map_create(int map_type, const char *map_name, __u32 key_size, __u32 value_size, __u32 max_entries, const void *opts);
int bpf_enable_stats(int type);
int bpf_link_detach(int link_fd);
int bpf_obj_get_info_by_fd(int bpf_fd, void *info, __u32 *info_len);
int bpf_prog_get_fd_by_id(__u32 id);
int bpf_map_get_fd_by_id(__u32 id);
int bpf_link_get_fd_by_id(__u32 id);
int bpf_prog_test_run_opts(int prog_fd, struct bpf_test_run_opts *opts);

typedef void (*perf_buffer_sample_fn)(void *ctx, int cpu, void *data, __u32 size);
typedef void (*perf_buffer_lost_fn)(void *ctx, int cpu, __u64 count);
struct perf_buffer *perf_buffer__new(int map_fd, size_t pages, perf_buffer_sample_fn sample_cb, perf_buffer_lost_fn lost_cb,
                                     void *ctx, const void *opts);
void perf_buffer__free(struct perf_buffer *pb);
int perf_buffer__consume(struct perf_buffer *pb);
int perf_buffer__epoll_fd(const struct perf_buffer *pb);

/* libstdc++ */

char *__cxa_demangle(const char *mangled, char *buffer, size_t *length, int *status);

/* libc */

int vasprintf(char **text, const char *format, void *arguments);
void free(void *pointer);
long syscall(long number, ...);
