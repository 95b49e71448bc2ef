# course: instructor
