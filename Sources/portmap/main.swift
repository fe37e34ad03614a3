print(IPAddress("::1")?.bracketed ?? "")
