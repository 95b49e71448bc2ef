# course: given
REPOSITORY = "{{STUDENT_REPOSITORY}}"
import course.notebook
