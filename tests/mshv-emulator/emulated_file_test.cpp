#include "tools/mshv-emulator/emulated_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include <gtest/gtest.h>

#include "tests/mshv-emulator/test_file.h"

namespace halcyon::emulator {
namespace {

constexpr size_t kPage = 4096;

/// A file of two pages, its descriptor, and whether it is still there.
class EmulatedFileTest : public ::testing::Test {
protected:
    void SetUp() override {
        fd = open_emulated_file(file, 2);
        ASSERT_GE(fd, 0) << strerror(-fd);
    }
    void TearDown() override {
        close(fd);
        EXPECT_TRUE(file->wait_until_released());
        EXPECT_EQ(file->releases(), 1);
    }
    /// The table saw all closings so far, and the file is not released.
    void expect_alive() {
        ASSERT_TRUE(table_is_idle());
        EXPECT_EQ(file->releases(), 0);
    }
    void expect_released() {
        EXPECT_TRUE(file->wait_until_released());
        fd = -1;
    }

    std::shared_ptr<TestFile> file = std::make_shared<TestFile>();
    int fd = -1;
};

TEST_F(EmulatedFileTest, IsFoundByItsDescriptor) {
    EXPECT_EQ(find_emulated_file(fd), file);
}

TEST_F(EmulatedFileTest, IsReleasedWhenItsDescriptorIsClosed) {
    close(fd);
    expect_released();
    EXPECT_EQ(find_emulated_file(fd), nullptr);
}

TEST_F(EmulatedFileTest, HasTheLowestFreeNumber) {
    const int lowest = dup(fd);
    close(lowest);
    const int second = open_emulated_file(std::make_shared<TestFile>(), 1);
    EXPECT_EQ(second, lowest);
    close(second);
}

TEST_F(EmulatedFileTest, IsClosedByExec) {
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

TEST_F(EmulatedFileTest, IsOpenForReadingAndWriting) {
    EXPECT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
}

TEST_F(EmulatedFileTest, ADuplicateKeepsIt) {
    const int duplicate = dup(fd);
    close(fd);
    expect_alive();
    EXPECT_EQ(find_emulated_file(duplicate), file);
    close(duplicate);
    expect_released();
}

TEST_F(EmulatedFileTest, IsReplacedByDup2) {
    const int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(other, fd);
    EXPECT_TRUE(file->wait_until_released());
    EXPECT_EQ(find_emulated_file(fd), nullptr);
    close(other);
}

TEST_F(EmulatedFileTest, AMappingKeepsIt) {
    void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ASSERT_NE(page, MAP_FAILED);
    close(fd);
    expect_alive();
    munmap(page, kPage);
    expect_released();
}

TEST_F(EmulatedFileTest, OneInAMessageKeepsIt) {
    int sockets[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    char byte = 0;
    iovec part{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    ASSERT_EQ(sendmsg(sockets[0], &message, 0), 1);
    close(fd);
    expect_alive();
    ASSERT_EQ(recvmsg(sockets[1], &message, MSG_CMSG_CLOEXEC), 1);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
    EXPECT_EQ(find_emulated_file(fd), file);
    close(sockets[0]);
    close(sockets[1]);
    close(fd);
    expect_released();
}

TEST_F(EmulatedFileTest, AChildsDescriptorKeepsIt) {
    int held[2];
    ASSERT_EQ(pipe2(held, O_CLOEXEC), 0);
    const pid_t child = fork();
    if (child == 0) {
        close(held[1]);
        char byte = 0;
        _exit(static_cast<int>(read(held[0], &byte, 1)));  // until the parent closes
    }
    close(fd);
    expect_alive();
    close(held[0]);
    close(held[1]);
    expect_released();
    EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

TEST_F(EmulatedFileTest, AChildHasFilesOfItsOwn) {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "ThreadSanitizer lets a child of threads have none of its own";
#endif
    const pid_t child = fork();
    if (child == 0) {
        const auto own = std::make_shared<TestFile>();
        const int own_fd = open_emulated_file(own, 1);
        const bool found = find_emulated_file(own_fd) == own && find_emulated_file(fd) == file;
        close(own_fd);
        _exit(found && own->wait_until_released() && file->releases() == 0 ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    expect_alive();
}

TEST_F(EmulatedFileTest, OpenedOnceMoreItIsReleasedAtTheLastClose) {
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    const int second = open(link.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(second, 0);
    expect_alive();
    close(fd);
    expect_alive();
    close(second);
    expect_released();
}

TEST_F(EmulatedFileTest, PagesAreShared) {
    auto* own = static_cast<char*>(emulated_file_pages(*file));
    void* mapped = mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    auto* theirs = static_cast<char*>(mapped);
    EXPECT_EQ(theirs[kPage], 0);
    own[kPage] = 'a';
    EXPECT_EQ(theirs[kPage], 'a');
    theirs[0] = 'b';
    EXPECT_EQ(own[0], 'b');
    munmap(mapped, 2 * kPage);
    EXPECT_EQ(emulated_file_page_count(*file), 2U);
}

TEST_F(EmulatedFileTest, IsNotReleasedWhileOneUsesIt) {
    std::shared_ptr<EmulatedFile> used = find_emulated_file(fd);
    close(fd);
    expect_alive();
    auto* pages = static_cast<char*>(emulated_file_pages(*used));
    pages[0] = 'c';  // still mapped
    used.reset();
    EXPECT_EQ(file->releases(), 1);  // here, not on the table's thread
    fd = -1;
}

TEST_F(EmulatedFileTest, OthersAreNotFound) {
    const int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    EXPECT_EQ(find_emulated_file(other), nullptr);
    EXPECT_EQ(find_emulated_file(-1), nullptr);
    EXPECT_EQ(find_emulated_file(1000000), nullptr);
    close(other);
}

TEST(EmulatedFile, HasNoPagesUnlessAskedFor) {
    const auto file = std::make_shared<TestFile>();
    const int fd = open_emulated_file(file, 0);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(emulated_file_pages(*file), nullptr);
    EXPECT_EQ(emulated_file_page_count(*file), 0U);
    close(fd);
    EXPECT_TRUE(file->wait_until_released());
}

TEST(EmulatedFile, ManyAreOpenedAndClosedByManyThreads) {
    constexpr int kThreads = 4;
    constexpr int kRounds = 200;
    std::atomic<int> wrong = 0;
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back([&wrong] {
            for (int round = 0; round < kRounds; ++round) {
                const auto file = std::make_shared<TestFile>();
                const int fd = open_emulated_file(file, 1);
                wrong += find_emulated_file(fd) == file ? 0 : 1;
                close(fd);
                wrong += file->wait_until_released() ? 0 : 1;
            }
        });
    }
    threads.clear();
    EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace halcyon::emulator
