// C++17 over medsegx.h: handles that free themselves, failures as exceptions. Header only; every rule of medsegx.h holds.
#ifndef MEDSEGX_HPP
#define MEDSEGX_HPP

#include <medsegx.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace medsegx {

// What a call failed with: status, message, and what lies below it ("" where there is nothing).
class Error : public std::runtime_error {
  public:
    Error(medsegx_status status, const std::string &message, const std::string &source)
        : std::runtime_error(message), status_(status), source_(std::make_shared<const std::string>(source)) {}
    medsegx_status status() const noexcept { return status_; }
    const std::string &source() const noexcept { return *source_; }

  private:
    medsegx_status status_;
    std::shared_ptr<const std::string> source_; // copying an exception must not throw
};

namespace detail {

// Throws what a call left in `error`: by reference, since a caller's arguments may be read before the call is made.
inline void check(medsegx_status status, medsegx_error *const &error) {
    const std::unique_ptr<medsegx_error, void (*)(medsegx_error *)> owned(error, medsegx_error_free);
    if (status != MEDSEGX_STATUS_OK) {
        const char *source = medsegx_error_source(error);
        throw Error(status, error ? medsegx_error_message(error) : medsegx_status_string(status), source ? source : "");
    }
}

} // namespace detail

// A struct of the C header with its size and defaults set.
template <typename Struct> Struct with_defaults(void (*init)(Struct *, std::uint32_t)) {
    Struct value;
    init(&value, static_cast<std::uint32_t>(sizeof value));
    return value;
}

// Names of MedSegDB's tree to indices: context_of("CT_Liver").
inline medsegx_context context_of(const std::string &task) {
    auto names = with_defaults(medsegx_context_names_init);
    names.task = task.c_str();
    auto context = with_defaults(medsegx_context_init);
    medsegx_error *error = nullptr;
    detail::check(medsegx_context_from_names(&names, &context, &error), error);
    return context;
}

// Loaded weights; may be shared by threads.
class Model {
  public:
    explicit Model(const std::string &path, const medsegx_model_options *options = nullptr) : handle_(nullptr, medsegx_model_free) {
        medsegx_model *model = nullptr;
        medsegx_error *error = nullptr;
        detail::check(medsegx_model_open(path.c_str(), options, &model, &error), error);
        handle_.reset(model);
    }
    Model(const void *data, std::size_t size, const medsegx_model_options *options = nullptr)
        : handle_(nullptr, medsegx_model_free) {
        medsegx_model *model = nullptr;
        medsegx_error *error = nullptr;
        detail::check(medsegx_model_open_memory(data, size, options, &model, &error), error);
        handle_.reset(model);
    }
    // (path, NULL) would be taken for memory of 0 bytes: options come as a pointer or not at all, bytes as const void *.
    Model(const char *path, std::size_t size, const medsegx_model_options *options = nullptr) = delete;
    medsegx_model_info info() const {
        auto info = with_defaults(medsegx_model_info_init);
        medsegx_error *error = nullptr;
        detail::check(medsegx_model_describe(handle_.get(), &info, &error), error);
        return info;
    }
    std::string device() const { return medsegx_model_device(handle_.get()); }
    std::string sha256() const { return medsegx_model_sha256(handle_.get()); }
    const medsegx_model *get() const noexcept { return handle_.get(); }

  private:
    friend class Tuning;
    explicit Model(medsegx_model *model) : handle_(model, medsegx_model_free) {}
    std::unique_ptr<medsegx_model, void (*)(medsegx_model *)> handle_;
};

// A flag that stops runs; any thread may set it.
class Cancel {
  public:
    Cancel() : handle_(nullptr, medsegx_cancel_free) {
        medsegx_cancel *cancel = nullptr;
        medsegx_error *error = nullptr;
        detail::check(medsegx_cancel_new(&cancel, &error), error);
        handle_.reset(cancel);
    }
    void set(bool stop = true) const noexcept { medsegx_cancel_set(handle_.get(), stop ? 1 : 0); }
    const medsegx_cancel *get() const noexcept { return handle_.get(); }

  private:
    std::unique_ptr<medsegx_cancel, void (*)(medsegx_cancel *)> handle_;
};

// One thread's session.
class Session {
  public:
    explicit Session(const Model &model, const medsegx_session_options *options = nullptr)
        : handle_(nullptr, medsegx_session_free) {
        medsegx_session *session = nullptr;
        medsegx_error *error = nullptr;
        detail::check(medsegx_session_new(model.get(), options, &session, &error), error);
        handle_.reset(session);
    }
    void segment(const medsegx_slice &slice, const medsegx_context *context, const medsegx_prompt &prompt, medsegx_result &result,
                 const medsegx_cancel *cancel = nullptr) {
        medsegx_error *error = nullptr;
        detail::check(medsegx_segment_slice(handle_.get(), &slice, context, &prompt, &result, cancel, &error), error);
    }
    void set_slice(const medsegx_slice &slice, const medsegx_context *context, const medsegx_cancel *cancel = nullptr) {
        medsegx_error *error = nullptr;
        detail::check(medsegx_session_set_slice(handle_.get(), &slice, context, cancel, &error), error);
    }
    // `results` has a struct for each of `prompts`.
    void prompt(const std::vector<medsegx_prompt> &prompts, std::vector<medsegx_result> &results,
                const medsegx_cancel *cancel = nullptr) {
        if (prompts.size() != results.size()) throw std::invalid_argument("prompts and results differ in number");
        medsegx_error *error = nullptr;
        detail::check(medsegx_session_prompt(handle_.get(), prompts.data(), sizeof(medsegx_prompt), results.data(),
                                             sizeof(medsegx_result), prompts.size(), cancel, &error),
                      error);
    }
    // `progress` must not throw: it is called through C.
    void segment(const medsegx_volume &volume, const std::vector<medsegx_target> &targets, medsegx_volume_result &result,
                 const medsegx_cancel *cancel = nullptr, medsegx_progress_callback progress = nullptr, void *user = nullptr) {
        medsegx_error *error = nullptr;
        detail::check(medsegx_segment_volume(handle_.get(), &volume, targets.data(), sizeof(medsegx_target), targets.size(),
                                             &result, progress, user, cancel, &error),
                      error);
    }
    medsegx_session *get() noexcept { return handle_.get(); }

  private:
    std::unique_ptr<medsegx_session, void (*)(medsegx_session *)> handle_;
};

// Labelled slices, and what tuning on them makes of a model.
class Tuning {
  public:
    explicit Tuning(const std::string &path) : handle_(nullptr, medsegx_tune_free) {
        medsegx_tuning *tuning = nullptr;
        medsegx_error *error = nullptr;
        detail::check(medsegx_tune_new(path.c_str(), &tuning, &error), error);
        handle_.reset(tuning);
    }
    // `label` has a byte a pixel, 0 outside.
    void add(Session &session, const medsegx_slice &slice, const medsegx_context *context, const std::vector<unsigned char> &label,
             std::uint32_t volume, std::uint32_t index, const medsegx_cancel *cancel = nullptr) {
        medsegx_error *error = nullptr;
        detail::check(medsegx_tune_add_slice(handle_.get(), session.get(), &slice, context, label.data(), label.size(), volume,
                                             index, cancel, &error),
                      error);
    }
    // `progress` must not throw: it is called through C.
    medsegx_tune_result run(const medsegx_tune_options *options = nullptr, const medsegx_cancel *cancel = nullptr,
                            medsegx_progress_callback progress = nullptr, void *user = nullptr) {
        auto result = with_defaults(medsegx_tune_result_init);
        medsegx_error *error = nullptr;
        detail::check(medsegx_tune_run(handle_.get(), options, &result, progress, user, cancel, &error), error);
        return result;
    }
    Model model(const Model &base) {
        medsegx_model *model = nullptr;
        medsegx_error *error = nullptr;
        detail::check(medsegx_tune_model(handle_.get(), base.get(), &model, &error), error);
        return Model(model);
    }
    void write(const std::string &path, const std::string &name, bool force = false) {
        medsegx_error *error = nullptr;
        detail::check(medsegx_tune_write(handle_.get(), path.c_str(), name.c_str(), force ? 1 : 0, &error), error);
    }

  private:
    std::unique_ptr<medsegx_tuning, void (*)(medsegx_tuning *)> handle_;
};

} // namespace medsegx

#endif // MEDSEGX_HPP
