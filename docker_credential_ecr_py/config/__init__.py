"""The files of settings, of the AWS CLI and of docker: paths, reading and editing."""
