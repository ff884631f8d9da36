#include "tools/mshv-emulator/options.h"

#include <gtest/gtest.h>

namespace halcyon::emulator {
namespace {

std::string problem_of(const std::string& text) {
    Options result;
    std::string error;
    EXPECT_FALSE(parse_options(text, result, error));
    return error;
}

TEST(EmulatorOptions, NothingIsTheNewestDriverWithoutFaults) {
    Options result;
    std::string error;
    ASSERT_TRUE(parse_options("", result, error));
    EXPECT_EQ(result.kernel, Kernel::kNew);
    EXPECT_EQ(result.scheduler, Scheduler::kHypervisor);
    EXPECT_TRUE(result.register_page);
    EXPECT_EQ(format_options(result), "");
}

TEST(EmulatorOptions, TextGoesThereAndBack) {
    const std::string text =
        "kernel=old,scheduler=root,resample=on,trap-open=on,register-page=off,"
        "fault.partial-reps=3,fault.bitmap-failure=4294967295,log=/a%2Cb%25";
    Options result;
    std::string error;
    ASSERT_TRUE(parse_options(text, result, error)) << error;
    EXPECT_EQ(result.kernel, Kernel::kOld);
    EXPECT_EQ(result.scheduler, Scheduler::kRoot);
    EXPECT_TRUE(result.resample);
    EXPECT_TRUE(result.trap_open);
    EXPECT_FALSE(result.register_page);
    EXPECT_EQ(result.faults.partial_reps, 3U);
    EXPECT_EQ(result.faults.bitmap_failure, 0xffffffffU);
    EXPECT_EQ(result.log_path, "/a,b%");
    EXPECT_EQ(format_options(result), text);
}

TEST(EmulatorOptions, EachFaultHasANameOfItsOwn) {
    for (const FaultName& fault : fault_names()) {
        Options result;
        std::string error;
        const std::string text = "fault." + std::string(fault.name) + "=7";
        ASSERT_TRUE(parse_options(text, result, error)) << error;
        EXPECT_EQ(result.faults.*fault.member, 7U);
        EXPECT_EQ(format_options(result), text);
        EXPECT_FALSE(fault.meaning.empty());
    }
    EXPECT_EQ(fault_names().size() * sizeof(uint32_t), sizeof(FaultPlan));
}

TEST(EmulatorOptions, WhatIsWrongIsNamed) {
    EXPECT_EQ(problem_of("kernel=older"), "'kernel' cannot be 'older'");
    EXPECT_EQ(problem_of("kernel"), "'kernel' has no value");
    EXPECT_EQ(problem_of("speed=1"), "there is no setting 'speed'");
    EXPECT_EQ(problem_of("fault.rain=1"), "there is no fault 'rain'");
    EXPECT_EQ(problem_of("fault.no-gva=often"), "fault no-gva takes a number, not 'often'");
    EXPECT_EQ(problem_of("fault.no-gva=4294967296"),
              "fault no-gva takes a number, not '4294967296'");
    EXPECT_EQ(problem_of("fault.no-gva="), "fault no-gva takes a number, not ''");
    EXPECT_EQ(problem_of("scheduler=root,,kernel=old"), "'' has no value");
}

}  // namespace
}  // namespace halcyon::emulator
