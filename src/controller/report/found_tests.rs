//! What the index shows, segment by segment.

use super::*;
