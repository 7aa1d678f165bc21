// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "ctsync/text/json_object.h"
