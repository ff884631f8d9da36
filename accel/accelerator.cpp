#include "accel/accelerator.h"

namespace halcyon {

const Accelerator* find_accelerator(std::string_view name) {
    for (const Accelerator* accelerator : accelerators()) {
        if (accelerator->name() == name) {
            return accelerator;
        }
    }
    return nullptr;
}

}  // namespace halcyon
