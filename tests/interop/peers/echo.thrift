exception Failed {
  1: string why
}

service Echo {
  string echo(1: string text)
  string fail() throws (1: Failed failed)
  string broken()
  oneway void note(1: string text)
  list<string> noted()
}
