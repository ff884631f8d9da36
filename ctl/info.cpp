#include "ctl/info.h"

#include "ctl/format.h"
#include "ctl/json_access.h"

namespace halcyon {
namespace {

/// What query-uuid says of a machine that was given none.
constexpr std::string_view kNoUuid = "00000000-0000-0000-0000-000000000000";

const Json& answer(const Json& info, std::string_view query) {
    static const Json kNothing;
    const Json* found = find_member(info, query);
    return found == nullptr ? kNothing : *found;
}

void append_line(std::string& out, std::string_view title, std::string_view text) {
    if (!text.empty()) {
        std::string line = std::string(title) + ":";
        line.resize(13, ' ');
        out += line + printable(text, true) + "\n";
    }
}

std::string accelerator(const Json& info) {
    const std::string_view enabled = find_string(answer(info, "query-accelerators"), "enabled");
    const Json* kvm = find_member(answer(info, "query-kvm"), "enabled");
    if (!enabled.empty() || kvm == nullptr) {
        return std::string(enabled);
    }
    return *kvm == Json(true) ? "kvm" : "not kvm";
}

std::string memory(const Json& info) {
    const Json* base = find_member(answer(info, "query-memory-size-summary"), "base-memory");
    return base != nullptr && base->is_number_integer() ? format_bytes(base->get<uint64_t>()) : "";
}

std::string version(const Json& info) {
    const Json& version = answer(info, "version");
    std::string text(find_string(version, "package"));
    if (const Json* qemu = find_member(version, "qemu")) {
        std::string number;
        for (const char* part : {"major", "minor", "micro"}) {
            const Json* value = find_member(*qemu, part);
            number += (number.empty() ? "" : ".") + (value == nullptr ? "?" : to_wire(*value));
        }
        text += (text.empty() ? "QEMU " : ", QMP of QEMU ") + number;
    }
    return text;
}

}  // namespace

Result<Json> collect_info(MonitorClient& client, Deadline deadline) {
    Json info{{"version", client.version()}};
    for (const char* query : {"query-name", "query-uuid", "query-status", "query-cpus-fast",
                              "query-accelerators", "query-kvm", "query-memory-size-summary"}) {
        Reply reply = TRY(client.execute(query, nullptr, deadline));
        if (!reply.error) {
            info[query] = std::move(reply.value);
        }
    }
    return info;
}

std::string format_info(const Json& info) {
    std::string out;
    append_line(out, "name", find_string(answer(info, "query-name"), "name"));
    const std::string_view uuid = find_string(answer(info, "query-uuid"), "UUID");
    append_line(out, "UUID", uuid == kNoUuid ? std::string_view() : uuid);
    append_line(out, "state", find_string(answer(info, "query-status"), "status"));
    const Json& cpus = answer(info, "query-cpus-fast");
    append_line(out, "vCPUs", cpus.is_array() ? std::to_string(cpus.size()) : "");
    append_line(out, "memory", memory(info));
    append_line(out, "accelerator", accelerator(info));
    append_line(out, "server", version(info));
    return out;
}

}  // namespace halcyon
