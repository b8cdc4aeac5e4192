#include "file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#ifdef _WIN32
#include <io.h>
#include <mutex>
#else
#include <unistd.h>
#endif

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace delineate {
namespace {

struct State {
    int64_t size = -1, modified = -1;
};

State state_of(int descriptor) {
#ifdef _WIN32
    struct _stat64 found;
    if (_fstat64(descriptor, &found) != 0) return {};
    return {found.st_size, found.st_mtime};
#else
    struct stat found;
    if (fstat(descriptor, &found) != 0) return {};
#ifdef __linux__
    return {found.st_size, int64_t{found.st_mtim.tv_sec} * 1'000'000'000 + found.st_mtim.tv_nsec};
#else
    return {found.st_size, found.st_mtime};
#endif
#endif
}

int64_t read_some(int descriptor, int64_t offset, char* out, size_t n) {
#ifdef _WIN32
    static std::mutex guard;  // no read at a place there: the position is shared
    const std::lock_guard lock(guard);
    if (_lseeki64(descriptor, offset, SEEK_SET) < 0) return -1;
    return _read(descriptor, out, static_cast<unsigned>(n < (size_t{1} << 30) ? n : size_t{1} << 30));
#else
    return pread(descriptor, out, n, offset);
#endif
}

int duplicate(int descriptor) {
#ifdef _WIN32
    return _dup(descriptor);
#else
    return fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
#endif
}

}  // namespace

File::File(int descriptor) : descriptor_(duplicate(descriptor)) {
    if (descriptor_ < 0) throw std::runtime_error(std::string("file must be open, got: ") + std::strerror(errno) + ".");
    const State state = state_of(descriptor_);
    size_ = state.size < 0 ? 0 : state.size;
    modified_ = state.modified;
}

File::~File() {
#ifdef _WIN32
    _close(descriptor_);
#else
    close(descriptor_);
#endif
}

size_t File::read(int64_t offset, char* out, size_t n) const {
    size_t done = 0;
    while (done < n) {
        const int64_t got = read_some(descriptor_, offset + static_cast<int64_t>(done), out + done, n - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw std::runtime_error(std::string("file must be readable, got: ") + std::strerror(errno) + ".");
        if (got == 0) break;
        done += static_cast<size_t>(got);
    }
    return done;
}

bool File::unchanged() const {
    const State state = state_of(descriptor_);
    return state.size == size_ && state.modified == modified_;
}

}  // namespace delineate
