#!/bin/sh
# course: given
git clone {{STUDENT_REPOSITORY}}
