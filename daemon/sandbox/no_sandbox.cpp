// Built without libseccomp (-Dseccomp=disabled).
#include "daemon/sandbox/sandbox.h"

namespace halcyon {

Result<std::unique_ptr<Sandbox>> Sandbox::create(SandboxMode mode) {
    if (mode == SandboxMode::kOff) {
        return std::unique_ptr<Sandbox>();
    }
    return Error("-sandbox: this program was built without libseccomp; say -sandbox off");
}

void Sandbox::enter(SandboxRole) const {}

bool sandbox_is_built_in() {
    return false;
}

}  // namespace halcyon
