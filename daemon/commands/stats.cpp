// Statistics. There is one provider, of our own, about vCPUs.

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/command_context.h"
#include "daemon/commands/convert.h"
#include "qmp_commands.h"

namespace halcyon::qmp {
namespace {

constexpr StatsProvider kProvider = StatsProvider::kOrgHalcyonVcpu;

/// A statistic of a vCPU. `value` gives nothing when the backend does not count it.
struct VcpuStat {
    std::string_view name;
    std::optional<StatsValue> (*value)(const VcpuInfo& vcpu);
    StatsType type = StatsType::kCumulative;
    std::optional<StatsUnit> unit = std::nullopt;
    int16_t exponent = 0;
};

template <OwnedCounter VcpuCounters::*Counter>
std::optional<StatsValue> count(const VcpuInfo& vcpu) {
    if (vcpu.counters == nullptr) {
        return std::nullopt;
    }
    return StatsValue{(vcpu.counters->*Counter).value()};
}

constexpr std::array<VcpuStat, 12> kVcpuStats = {{
    {"entries", count<&VcpuCounters::entries>},
    {"aborted_entries", count<&VcpuCounters::aborted_entries>},
    {"signal_exits", count<&VcpuCounters::interrupted>},
    {"io_exits", count<&VcpuCounters::pio_exits>},
    {"mmio_exits", count<&VcpuCounters::mmio_exits>},
    {"halt_exits", count<&VcpuCounters::halt_exits>},
    {"interrupt_exits", count<&VcpuCounters::interrupt_exits>},
    {"other_exits", count<&VcpuCounters::other_exits>},
    {"kicks", [](const VcpuInfo& vcpu) { return std::optional(StatsValue{vcpu.kicks}); }},
    {"rekicks", [](const VcpuInfo& vcpu) { return std::optional(StatsValue{vcpu.rekicks}); }},
    {"guest_time",
     [](const VcpuInfo& vcpu) {
         return vcpu.counters == nullptr
                    ? std::nullopt
                    : std::optional(StatsValue{static_cast<uint64_t>(vcpu.guest_time.count())});
     },
     StatsType::kCumulative, StatsUnit::kSeconds, -9},
    {"running",
     [](const VcpuInfo& vcpu) { return std::optional(StatsValue{vcpu.state == "running"}); },
     StatsType::kInstant, StatsUnit::kBoolean},
}};

bool has(const std::optional<std::vector<std::string>>& wanted, std::string_view name) {
    return !wanted || std::ranges::find(*wanted, name) != wanted->end();
}

/// What is asked of our provider: nothing when it is another's statistics that are wanted.
std::optional<StatsRequest> find_request(const StatsFilter& filter) {
    if (!filter.providers) {
        return StatsRequest{.provider = kProvider, .names = std::nullopt};
    }
    const auto found = std::ranges::find(*filter.providers, kProvider, &StatsRequest::provider);
    return found == filter.providers->end() ? std::nullopt : std::optional(*found);
}

StatsResult tell(const VcpuInfo& vcpu, const StatsRequest& request) {
    StatsResult result;
    result.provider = kProvider;
    result.qom_path = vcpu_path(vcpu.index);
    for (const VcpuStat& stat : kVcpuStats) {
        if (!has(request.names, stat.name)) {
            continue;
        }
        if (std::optional<StatsValue> value = stat.value(vcpu)) {
            result.stats.push_back({.name = std::string(stat.name), .value = *std::move(value)});
        }
    }
    return result;
}

StatsSchemaValue describe(const VcpuStat& stat) {
    StatsSchemaValue value;
    value.name = stat.name;
    value.type = stat.type;
    value.unit = stat.unit;
    value.exponent = stat.exponent;
    if (stat.exponent != 0) {
        value.base = int8_t{10};
    }
    return value;
}

}  // namespace

Result<std::vector<StatsResult>> qmp_query_stats(CommandContext& context,
                                                 const StatsFilter& filter) {
    std::vector<StatsResult> results;
    const std::optional<StatsRequest> request = find_request(filter);
    const auto* const vcpus = std::get_if<StatsVCPUFilter>(&filter.branch);
    if (!request || vcpus == nullptr) {
        return results;
    }
    for (const VcpuInfo& vcpu : context.machine().vcpus()) {
        if (!has(vcpus->vcpus, vcpu_path(vcpu.index))) {
            continue;
        }
        StatsResult result = tell(vcpu, *request);
        if (!result.stats.empty()) {
            results.push_back(std::move(result));
        }
    }
    return results;
}

Result<std::vector<StatsSchema>> qmp_query_stats_schemas(
    CommandContext&, const QueryStatsSchemasArguments& arguments) {
    if (arguments.provider && *arguments.provider != kProvider) {
        return std::vector<StatsSchema>();
    }
    StatsSchema schema;
    schema.provider = kProvider;
    schema.target = StatsTarget::kVcpu;
    for (const VcpuStat& stat : kVcpuStats) {
        schema.stats.push_back(describe(stat));
    }
    return std::vector{schema};
}

}  // namespace halcyon::qmp
