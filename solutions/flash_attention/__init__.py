# course: given
