# For fingers that type make: `make test` is `./dev test`. ARGS passes arguments: make run ARGS='"Hi"'.
.PHONY: run test build bench lint fuzz install help
.DEFAULT_GOAL := help

run test build bench lint fuzz install help:
	@./dev $@ $(ARGS)
