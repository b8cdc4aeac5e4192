// A file that is read at stated places: no shared position, so threads and forked processes may read at once.
#pragma once

#include <cstddef>
#include <cstdint>

namespace delineate {

class File {
 public:
    // Duplicates the descriptor: the caller may close its own.
    explicit File(int descriptor);
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    int64_t size() const { return size_; }
    // Up to n bytes from `offset`; fewer only at the end of the file. Throws std::runtime_error if the file cannot be read.
    size_t read(int64_t offset, char* out, size_t n) const;
    // Whether size and time of modification still are what they were at the beginning.
    bool unchanged() const;

 private:
    int descriptor_ = -1;
    int64_t size_ = 0, modified_ = 0;
};

}  // namespace delineate
