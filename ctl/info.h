/// The command info: what a machine is, from several queries.
#pragma once

#include <string>

#include "base/result.h"
#include "ctl/deadline.h"
#include "ctl/monitor_client.h"
#include "protocol/json.h"

namespace halcyon {

/// The answers by the queries' names, and the greeting's version as "version". Queries that the
/// server refuses are left out.
[[nodiscard]] Result<Json> collect_info(MonitorClient& client, Deadline deadline);

/// The same for people, a line for each thing that is known.
[[nodiscard]] std::string format_info(const Json& info);

}  // namespace halcyon
