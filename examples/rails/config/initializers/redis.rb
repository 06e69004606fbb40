# The application's own keys. Everything goes through REDIS: what bypasses it is another environment's, too.
settings = Rails.application.config_for(:redis)
connection = Redis.new(url: settings[:url], db: settings[:db])

REDIS =
  if settings[:namespace].present?
    Redis::Namespace.new(settings[:namespace], redis: connection) # gem "redis-namespace"
  else
    connection
  end
