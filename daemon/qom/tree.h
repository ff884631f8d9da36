/// The object tree of the process: machine, devices, back ends, what clients made.
#pragma once

#include <memory>

#include "daemon/chardev/chardev_registry.h"
#include "daemon/qom/object.h"
#include "daemon/qom/user_objects.h"
#include "machine/machine.h"

namespace halcyon::qom {

/// Makes the tree from what there is at the moment. It refers to `objects` only, for qom-set. Main
/// thread.
[[nodiscard]] std::unique_ptr<Object> build_tree(Machine& machine, ChardevRegistry& chardevs,
                                                 UserObjects& objects);

}  // namespace halcyon::qom
