/// A file with given contents that goes away with the object.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace halcyon::test {

class TempFile {
public:
    explicit TempFile(const std::string& contents) {
        ::close(::mkostemp(path_.data(), O_CLOEXEC));
        std::ofstream(path_, std::ios::binary) << contents;
    }
    ~TempFile() { ::unlink(path_.c_str()); }
    TempFile(const TempFile&) = delete;
    TempFile& operator=(const TempFile&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_ = "/tmp/halcyon-test-XXXXXX";
};

}  // namespace halcyon::test
